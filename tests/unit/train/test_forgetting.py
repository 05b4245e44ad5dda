"""The controller's rule, and that what it does is a function of the evaluations alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError
from yaongi.train.forgetting import Controller, Forgetting, check_replay, next_shares
from yaongi.train.forgetting_figure import figure

MIX = {"ko": 0.5, "en": 0.3, "code": 0.2}
RULE = Forgetting(tolerance=0.01, recovered=0.005, factor=1.5, most=0.75)


@pytest.mark.parametrize(
    ("shares", "worse", "expected"),
    [
        (MIX, {"en": 0.011, "code": 0.0}, {"ko": 0.35, "en": 0.45, "code": 0.2}),
        (MIX, {"en": 0.01, "code": -0.2}, MIX),  # as bad as is tolerated; never below the asked
        (
            {"ko": 0.35, "en": 0.45, "code": 0.2},
            {"en": 0.007, "code": 0.007},  # better, but not yet recovered
            {"ko": 0.35, "en": 0.45, "code": 0.2},
        ),
        ({"ko": 0.35, "en": 0.45, "code": 0.2}, {"en": 0.0, "code": 0.0}, MIX),
        # both worse: 0.45 and 0.3 would be 0.75, which is the most
        (MIX, {"en": 0.5, "code": 0.5}, {"ko": 0.25, "en": 0.45, "code": 0.3}),
        # again: 0.675 and 0.45 are cut in proportion to what is above 0.3 and 0.2
        (
            {"ko": 0.25, "en": 0.45, "code": 0.3},
            {"en": 0.5, "code": 0.5},
            {"ko": 0.25, "en": 0.45, "code": 0.3},
        ),
    ],
)
def test_the_rule(shares, worse, expected):
    assert next_shares(shares, MIX, worse, RULE) == pytest.approx(expected, abs=1e-4)


def test_what_is_new_divides_the_rest_as_it_was_asked():
    asked = {"ko": 0.4, "laws": 0.2, "en": 0.4}
    found = next_shares(asked, asked, {"en": 1.0}, RULE)
    assert found == pytest.approx({"ko": 0.8 / 3, "laws": 0.4 / 3, "en": 0.6}, abs=1e-4)


@given(
    asked=st.lists(st.floats(0.05, 1), min_size=3, max_size=6),
    changes=st.lists(st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=5), max_size=30),
    factor=st.floats(1.01, 4),
    room=st.floats(0.0, 1.0),
)
def test_whatever_happens_the_shares_are_a_mix(asked, changes, factor, room):
    names = [f"d{i}" for i in range(len(asked))]
    mix = {name: share / sum(asked) for name, share in zip(names, asked, strict=True)}
    replay = names[1:]
    least = sum(mix[d] for d in replay)
    rule = Forgetting(factor=factor, most=min(0.999, least + room * (1 - least)))
    shares = mix
    for change in changes:
        shares = next_shares(shares, mix, dict(zip(replay, change, strict=False)), rule)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert all(shares[d] >= mix[d] - 1e-3 for d in replay)
        assert sum(shares[d] for d in replay) <= rule.most + 1e-3
        assert shares[names[0]] > 0


def test_a_share_comes_back_when_all_is_well():
    shares = MIX
    for _ in range(9):
        shares = next_shares(shares, MIX, {"en": 0.2, "code": 0.0}, RULE)
    assert shares["en"] == pytest.approx(0.55, abs=1e-3)
    for _ in range(9):
        shares = next_shares(shares, MIX, {"en": 0.0, "code": 0.0}, RULE)
    assert shares == pytest.approx(MIX)


# --- the controller ---------------------------------------------------------------------------


class Batches:
    def __init__(self):
        self.changes = []

    def change(self, step, shares):
        self.changes.append((step, dict(shares)))


@dataclass
class At:
    index: int
    last: bool = False


def controller(rule=RULE):
    return Controller(Batches(), {"ko": 5, "en": 3, "code": 2}, ["en", "code"], rule)


def probes(en, code=2.0, ko=3.0):
    return {"val_bpb/en": en, "val_bpb/code": code, "val_bpb/ko": ko}


def test_it_raises_what_is_forgotten_and_says_so():
    made = controller()
    assert made.begin(probes(2.0)) == {"share/ko": 0.5, "share/en": 0.3, "share/code": 0.2}
    assert "decision" not in made.observe(At(5), probes(2.01))
    told = made.observe(At(10), probes(2.03, code=1.9))
    assert told["decision"] == {"en": [0.3, 0.45]}
    assert told["worse/en"] == pytest.approx(0.015) and told["worse/code"] == pytest.approx(-0.05)
    assert told["share/ko"] == 0.35
    assert made.batches.changes == [(10, {"ko": 0.35, "en": 0.45, "code": 0.2})]
    assert "decision" in made.observe(At(15), probes(2.0))
    assert [d["step"] for d in made.decisions] == [10, 15]


def test_it_only_watches_without_a_rule_and_at_the_end():
    made = controller(rule=None)
    made.begin(probes(2.0))
    assert made.observe(At(10), probes(4.0))["worse/en"] == 1.0
    ended = controller()
    ended.begin(probes(2.0))
    ended.observe(At(10, last=True), probes(4.0))
    assert not made.batches.changes and not ended.batches.changes


def test_its_state_is_json_and_tells_new_batches_everything():
    made = controller()
    made.begin(probes(2.0))
    for step, en in ((10, 2.1), (20, 2.2), (30, 2.0)):
        made.observe(At(step), probes(en))
    again = controller()
    again.load(json.loads(json.dumps(made.state())))
    assert again.batches.changes == made.batches.changes
    assert again.observe(At(40), probes(2.5)) == made.observe(At(40), probes(2.5))


def test_a_domain_nobody_measures_is_refused():
    made = controller()
    with pytest.raises(ConfigError, match="'code'"):
        made.begin({"val_bpb/en": 2.0})


@pytest.mark.parametrize(
    ("replay", "message"),
    [
        (["eng"], "replay names 'eng', which has no share in the mix"),
        (["ko", "en", "code"], "nothing to learn"),
        (["ko", "en"], r"0.80 of the mix, more than forgetting.most \(0.75\)"),
    ],
)
def test_a_replay_that_cannot_be(replay, message):
    with pytest.raises(ConfigError, match=message):
        check_replay(MIX, replay, RULE)


def test_a_rule_without_hysteresis_is_refused():
    with pytest.raises(ConfigError, match="must be less than tolerance"):
        parse(Forgetting, {"tolerance": 0.01, "recovered": 0.01})


def test_the_figure_shows_every_domain_and_every_decision():
    lines = [
        {"step": 0, "val_bpb/en": 2.0, "val_bpb/a<b": 3.0, "share/en": 0.3, "share/a<b": 0.7},
        {"step": 5, "loss": 1.0},
        {"step": 10, "val_bpb/en": 2.2, "val_bpb/a<b": 2.5, "share/en": 0.5, "share/a<b": 0.5,
         "decision": {"en": [0.3, 0.5]}},
    ]  # fmt: skip
    drawn = figure(lines)
    assert drawn.count("<polyline") == 4
    assert drawn.count('stroke-dasharray="2 3"') == 2  # the decision, in both panels
    assert "a&lt;b" in drawn and "a<b" not in drawn
    assert figure([]).startswith("<svg")
