"""The adaptation study: its settings are accepted, and its page says what the runs say."""

from __future__ import annotations

import adapt
import pytest
from adapt_report import Finished, figure, page

from yaongi.core.config import parse
from yaongi.model.count import count
from yaongi.train.continual import ContinueConfig
from yaongi.train.forgetting import check_replay
from yaongi.train.pretrain import PretrainConfig


def finished(ko: float, en: float, code: float) -> Finished:
    start = {"val_bpb/ko": 4.0, "val_bpb/en": 2.0, "val_bpb/code": 1.5, "val_bpb/laws": 4.0}
    end = {"val_bpb/ko": ko, "val_bpb/en": en, "val_bpb/code": code, "val_bpb/laws": 2.0}
    shares = {"share/ko": 0.8, "share/en": 0.1, "share/code": 0.1}
    points = [{"tokens": 0, **start, **shares}, {"tokens": 1_000_000, **end, **shares}]
    reached = {"ko": 0.8, "en": 0.1, "code": 0.1, "laws": 0.0}
    return Finished(points, [], reached, 3_000_000, 1_000_000, 60.0)


ENDS = {
    "no replay": (2.0, 2.5, 2.0),
    "fixed replay": (2.1, 2.1, 1.6),
    "controller": (2.2, 2.02, 1.515),
    "controller, longer vocabulary": (1.9, 2.02, 1.515),
}
DONE = {
    (name, seed): finished(*(end + seed / 100 for end in ends))
    for name, ends in ENDS.items()
    for seed in adapt.SEEDS
} | {("dapt on laws", 0): finished(2.0, 2.0, 1.5)}
WORDS = {"tokens_per_syllable": 3.0, "bytes_per_token": 1.2}
FACTS = {"parameters": 3e6, "first_tokens": 2e6, "vocab": 4096, "added": 2048,
         "cpu_minutes": 42.0, "hardware": "a machine"}  # fmt: skip


def lab(tmp_path) -> adapt.Lab:
    return adapt.Lab(500_000, tmp_path / "out", tmp_path / "work")


@pytest.mark.parametrize("name", [*adapt.ARMS, "dapt on laws"])
def test_every_arm_is_a_training_that_can_be_run(name, tmp_path):
    arm = adapt.DAPT if name == "dapt on laws" else adapt.ARMS[name]
    cfg = parse(ContinueConfig, lab(tmp_path).settings(arm))
    check_replay(arm.mix, cfg.replay, cfg.rule)
    assert (cfg.rule is not None) == ("controller" in name or "dapt" in name)
    assert set(arm.mix) <= set(adapt.SOURCES)


def test_the_model_is_small_and_all_runs_are_planned(tmp_path):
    first = parse(PretrainConfig, lab(tmp_path).first_settings())
    assert count(first.model).params_total < 10e6
    assert len(adapt.all_runs()) == 13 and len(set(adapt.all_runs())) == 13


def test_a_domain_has_text_of_its_own():
    names = [name for sources in adapt.SOURCES.values() for name in sources]
    assert len(names) == len(set(names))


def test_the_page_says_what_the_runs_say(tmp_path):
    vocabularies = {d: {"first": WORDS, "longer": WORDS} for d in adapt.SOURCES}
    text = page(DONE, adapt.ARMS, "dapt on laws", vocabularies, FACTS, "adapting.png")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "4.000 (4.000 – 4.000)" in rows["before"]
    assert "2.010 (1.985 – 2.035)" in rows["no replay"]
    assert "+25.5 % · +34.0 %" in rows["no replay"] and "20%" in rows["controller"]
    assert "controller minus no replay: Korean 0.200 (0.200 – 0.200)" in text
    assert "| laws" in text and "-50.0 %" in rows["laws"]
    assert "Not finished" not in text
    figure(DONE, adapt.ARMS, tmp_path / "adapting.png")
    assert (tmp_path / "adapting.png").stat().st_size > 10_000


def test_a_page_of_a_study_cut_short_says_what_is_missing():
    some = {run: result for run, result in DONE.items() if run[1] == 0}
    vocabularies = {d: {"first": WORDS, "longer": WORDS} for d in adapt.SOURCES}
    text = page(some, adapt.ARMS, "dapt on laws", vocabularies, FACTS, "adapting.png")
    assert "Not finished yet" in text and "controller, seed 2" in text
