"""Mixes: what is asked for is what the order of rows contains."""

import pytest

from yaongi.core.errors import DataError
from yaongi.data.mix import DEFAULT_MIX, ChangingSchedule, Schedule, check_mix


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
        ({"ko": 1, "mth": 1}, "no data.*: 'mth'.*There is: code, ko, math. Did you mean 'math'"),
        ({"한국어": 1}, "no data.*: '한국어'"),
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


def dealt(schedule, rows):
    return [schedule.place(row) for row in range(rows)]


def test_without_a_change_nothing_is_different():
    assert dealt(ChangingSchedule(DEFAULT_MIX), 100) == dealt(Schedule(DEFAULT_MIX), 100)


def test_shares_change_at_the_row_asked_and_rows_are_numbered_on():
    schedule = ChangingSchedule({"a": 0.5, "b": 0.25, "c": 0.25})
    schedule.change(40, {"a": 0.25, "b": 0.75})
    schedule.change(80, {"a": 0.25, "b": 0.25, "c": 0.5})
    places = dealt(schedule, 120)
    for domain in range(3):
        assert [k for d, k in places if d == domain] == list(range(schedule.counts(120)[domain]))
    by_part = [[d for d, _ in places[i : i + 40]] for i in (0, 40, 80)]
    assert [[part.count(d) for d in range(3)] for part in by_part] == [
        [20, 10, 10], [10, 30, 0], [10, 10, 20],
    ]  # fmt: skip
    for rows in range(121):
        counted = [sum(d == domain for d, _ in places[:rows]) for domain in range(3)]
        assert schedule.counts(rows).tolist() == counted


def test_it_does_not_matter_when_a_change_is_made_known():
    """A run hears of it on its way, a resumed one before its first row."""
    on_the_way, at_once = ChangingSchedule({"a": 1, "b": 1}), ChangingSchedule({"a": 1, "b": 1})
    at_once.change(7, {"a": 3, "b": 1})
    places = dealt(on_the_way, 7)
    on_the_way.change(7, {"a": 3, "b": 1})
    assert places + [on_the_way.place(row) for row in range(7, 60)] == dealt(at_once, 60)


def test_a_change_again_at_the_same_row_takes_its_place():
    schedule, other = ChangingSchedule({"a": 1, "b": 1}), ChangingSchedule({"a": 1, "b": 1})
    schedule.change(10, {"a": 1})
    schedule.change(10, {"a": 1, "b": 3})
    other.change(10, {"a": 1, "b": 3})
    assert dealt(schedule, 50) == dealt(other, 50)


def test_the_past_and_strange_domains_cannot_be_changed():
    schedule = ChangingSchedule({"a": 1, "b": 1, "c": 0})
    schedule.change(10, {"a": 1})
    with pytest.raises(ValueError, match="row 9 lies before the change at 10"):
        schedule.change(9, {"b": 1})
    with pytest.raises(DataError, match=r"the first mix: 'c'"):
        schedule.change(20, {"c": 1})


def test_every_domain_without_data_is_named():
    with pytest.raises(DataError, match="'en', 'code'"):
        check_mix({"ko": 0.4, "en": 0.3, "code": 0.3, "math": 0}, ["ko"])
