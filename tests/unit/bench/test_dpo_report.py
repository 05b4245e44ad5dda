"""The numbers of bench/dpo.py, from log-probabilities worked out by hand."""

import pytest
from dpo_report import summary

LENGTHS = {"ko": [[4, 2], [2, 4]], "en": [[2, 2]]}
BPB = {"val_bpb/ko": 2.0}


def tables(*pairs):
    ko, en = pairs[:2], pairs[2:]
    return {"log_probs": {"ko": list(ko), "en": list(en)}, "bpb": BPB}


START = tables([-8.0, -4.0], [-4.0, -8.0], [-4.0, -2.0])
REWARDS = {"ko": {"accuracy": 0.5, "pairs": 2}, "en": {"accuracy": 1.0, "pairs": 1}}
RUNS = {
    "dpo": [tables([-6.0, -5.0], [-3.0, -9.0], [-4.0, -3.0])] * 3,
    "control": [tables([-6.0, -2.0], [-3.0, -8.0], [-3.0, -2.5])] * 3,
    "reward": [{"reward": REWARDS}] * 3,
}


def test_margins_are_against_the_start():
    found = summary(START, RUNS, LENGTHS, beta=0.1)
    ko = found["ko"]
    # dpo: (2 - -1), (1 - -1); control: (2 - 2), (1 - 0)
    assert ko["dpo"]["margin_nats"]["mean"] == pytest.approx(2.5)
    assert ko["control"]["margin_nats"]["mean"] == pytest.approx(0.5)
    assert ko["dpo_minus_control"]["margin_nats"]["mean"] == pytest.approx(2.0)
    assert ko["dpo"]["accuracy"]["mean"] == 1.0
    assert ko["control"]["accuracy"]["mean"] == 0.5
    assert ko["longer_is_chosen"] == 0.5
    assert found["en"]["longer_is_chosen"] == 0.5  # equal: a coin
    assert ko["control"]["accuracy_per_token"]["mean"] == 0.5
    # per token: dpo (2/4 + 1/2), (1/2 + 1/4)
    assert ko["dpo"]["margin_per_token"]["mean"] == pytest.approx(0.875)
    assert ko["dpo"]["chosen_nats_per_token"]["mean"] == pytest.approx(1.5)


def test_domains_are_put_together():
    found = summary(START, RUNS, LENGTHS, beta=0.1)
    assert found["all"]["pairs"] == 3
    assert found["all"]["dpo"]["margin_nats"]["mean"] == pytest.approx(2.0)  # 3, 2 and 1
    assert found["all"]["reward_model"]["accuracy"] == pytest.approx(2 / 3)
    assert found["bpb"]["start"] == BPB


def test_intervals_hold_the_mean_and_shrink_to_it_when_all_is_equal():
    found = summary(START, RUNS, LENGTHS, beta=0.1)
    for domain in ("ko", "all"):
        for one in found[domain]["dpo_minus_control"].values():
            assert one["low"] <= one["mean"] <= one["high"]
    en = found["en"]["dpo"]["margin_nats"]
    assert en["low"] == en["high"] == pytest.approx(1.0)
