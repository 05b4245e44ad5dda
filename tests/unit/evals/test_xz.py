import random

import pytest

from yaongi.core.errors import DataError
from yaongi.evals.xz import xz_bpb


def noise(n, seed=0, letters="abcdefghijklmnop"):
    return "".join(random.Random(seed).choices(letters, k=n))


def test_random_letters_cost_their_entropy():
    """16 equally likely letters: 4 bits each, which no compressor can beat."""
    found = xz_bpb([noise(20_000)], [noise(20_000, seed=1)])
    assert 4.0 <= found < 4.6


def test_what_was_primed_is_nearly_free():
    text = noise(30_000)
    assert xz_bpb([text], [text]) < 0.05
    assert xz_bpb([noise(30_000, seed=2)], [text]) > 3.9


def test_priming_reaches_back_over_everything():
    """The first primed text is found again behind a megabyte of others."""
    first = noise(5_000)
    assert xz_bpb([first, noise(1_000_000, seed=3)], [first]) < 0.1


def test_bytes_are_counted_not_characters():
    korean = noise(3_000, letters="가나다라")
    latin = noise(3_000, letters="abcd")
    assert xz_bpb([], [korean]) == pytest.approx(xz_bpb([], [latin]) / 3, rel=0.25)


def test_no_heldout_text_is_an_error():
    with pytest.raises(DataError, match="no held-out text"):
        xz_bpb(["a"], [])
