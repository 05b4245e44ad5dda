"""Schedules: shapes at their corners, the same for any length, wrong settings refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yaongi.core.config import Config, parse
from yaongi.core.errors import ConfigError
from yaongi.train.schedule import WSD, Cosine, ScheduleChoice


@given(st.sampled_from([WSD(), Cosine(), WSD(warmup_fraction=0, decay_fraction=0)]),
       st.integers(1, 3000))  # fmt: skip
def test_every_step_learns_and_none_exceeds_the_peak(schedule, total):
    values = [schedule.multiplier(step, total) for step in range(total)]
    assert all(0 < v <= 1 for v in values)


@pytest.mark.parametrize("schedule", [WSD(), Cosine()])
def test_rises_then_falls_to_the_final_share(schedule):
    values = [schedule.multiplier(step, 1000) for step in range(1000)]
    assert values[0] < 0.06
    peak = values.index(max(values))
    assert values[:peak] == sorted(values[:peak])
    assert max(values) == pytest.approx(1, abs=0.01)
    assert values[-1] == pytest.approx(0.01)
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_wsd_holds_its_peak_between_warmup_and_decay():
    schedule = WSD(warmup_fraction=0.1, decay_fraction=0.3)
    values = [schedule.multiplier(step, 100) for step in range(100)]
    assert values[10:70] == [1.0] * 60
    assert values[9] < 1 and values[70] < 1


def test_cosine_is_half_way_at_the_middle():
    assert Cosine(warmup_fraction=0, final=0.2).multiplier(50, 101) == pytest.approx(0.6)


class Recipe(Config):
    schedule: ScheduleChoice = WSD()


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="more than the whole run"):
        parse(Recipe, {"schedule": {"warmup_fraction": 0.6, "decay_fraction": 0.6}})
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        parse(Recipe, {"schedule": "cosin"})
    assert parse(Recipe, {"schedule": {"kind": "cosine", "final": 0}}).schedule == Cosine(final=0)
