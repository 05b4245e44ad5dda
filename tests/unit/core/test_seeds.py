"""Named seeds: the same numbers everywhere, and streams that do not disturb each other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from yaongi.core.seeds import Seed


def test_golden_numbers() -> None:
    """Changing these would change every run ever made; do not."""
    assert Seed(0).int63 == 3456079177858693020
    assert Seed(0).split("data").int63 == 3677766100020498168
    assert Seed(0).split("data", 3).int63 == 8105994937859302342
    assert Seed(0).split("data").numpy().integers(0, 1000, 4).tolist() == [515, 250, 0, 528]
    assert Seed(0).split("data").python().random() == 0.5600418158255593


def test_another_process_gets_the_same() -> None:
    code = "from yaongi.core.seeds import Seed; print(Seed(7).split('가', 1).int63)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == Seed(7).split("가", 1).int63


def test_a_name_may_be_any_file_name() -> None:
    assert Seed(1).split("\udcea.txt").int63 != Seed(1).split("\udceb.txt").int63


def test_drawing_from_one_stream_does_not_move_another() -> None:
    root = Seed(1)
    before = root.split("b").numpy().random(3)
    root.split("a").numpy().random(1000)
    assert np.array_equal(root.split("b").numpy().random(3), before)


def test_split_by_steps_or_at_once() -> None:
    assert Seed(1).split("a", 2) == Seed(1).split("a").split(2)


def test_a_number_and_its_text_are_different_names() -> None:
    assert Seed(1).split("1").int63 != Seed(1).split(1).int63


def test_numpy_integers_are_integers() -> None:
    assert Seed(1).split(np.int64(3)).int63 == Seed(1).split(3).int63


names = st.lists(st.one_of(st.text(st.characters(exclude_characters="\x1f")), st.integers()))


@given(st.integers(), names, names)
def test_different_names_give_different_streams(root: int, a: list, b: list) -> None:
    first, second = Seed(root).split(*a), Seed(root).split(*b)
    assert (first.int63 == second.int63) == (first.path == second.path)


@given(st.integers(), names)
def test_every_seed_fits_torch_and_numpy(root: int, path: list) -> None:
    assert 0 <= Seed(root).split(*path).int63 < 2**63


def test_streams_look_independent() -> None:
    """Correlation of 200 neighbouring streams stays within four standard errors of zero."""
    rows = np.stack([Seed(0).split("s", i).numpy().standard_normal(2000) for i in range(200)])
    neighbours = (rows[:-1] * rows[1:]).mean(axis=1)
    assert abs(neighbours.mean()) < 4 / np.sqrt(neighbours.size * 2000)
    assert np.abs(neighbours).max() < 6 / np.sqrt(2000)
