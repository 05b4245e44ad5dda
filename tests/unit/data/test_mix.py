"""Mixes: what is asked for is what the order of rows contains."""

import pytest

from yaongi.core.errors import DataError
from yaongi.data.mix import DEFAULT_MIX, Schedule, check_mix


def test_the_default_mix_is_met_exactly_every_twenty_rows():
    schedule = Schedule(DEFAULT_MIX)
    assert schedule.shares == pytest.approx(DEFAULT_MIX)
    assert dict(zip(schedule.domains, schedule.counts(20), strict=True)) == {
        "code": 5, "en": 4, "ko": 8, "math": 3,
    }  # fmt: skip


def test_rows_of_a_domain_are_numbered_without_gaps():
    schedule = Schedule({"a": 3, "b": 1.5, "c": 0.25})
    seen = {0: [], 1: [], 2: []}
    for row in range(500):
        domain, k = schedule.place(row)
        seen[domain].append(k)
    assert all(ks == list(range(len(ks))) for ks in seen.values())
    assert [len(ks) for ks in seen.values()] == schedule.counts(500).tolist()


def test_shares_need_not_be_round():
    schedule = Schedule({"a": 1 / 3, "b": 0.123456789, "c": 1e-9})
    assert len(schedule.cycle) <= 10_001
    assert schedule.shares["a"] == pytest.approx((1 / 3) / (1 / 3 + 0.123456789), abs=2e-4)
    assert schedule.shares["c"] > 0


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"ko": 1, "mth": 1}, "domain 'mth'.*There is: code, ko, math. Did you mean 'math'"),
        ({"한국어": 1}, "domain '한국어'"),
        ({"ko": -1}, "share of 'ko' in the mix is -1"),
        ({"ko": float("nan"), "code": 1}, "share of 'ko'"),
        ({}, "asks for nothing"),
        ({"ko": 0}, "asks for nothing"),
    ],
)
def test_a_wrong_mix_is_refused(mix, message):
    with pytest.raises(DataError, match=message):
        check_mix(mix, ["math", "ko", "code"])


def test_a_domain_with_share_zero_needs_no_data():
    check_mix({"ko": 1, "en": 0}, ["ko"])
    assert Schedule({"ko": 1, "en": 0}).domains == ("ko",)
