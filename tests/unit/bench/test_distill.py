"""The study of distillation: its settings are accepted, and its page says what the runs say."""

from __future__ import annotations

import distill as study
import pytest
from distill_report import Finished, gaps, page, verdict

from yaongi.core.config import parse
from yaongi.model.count import count
from yaongi.model.lm import LMConfig
from yaongi.train.pretrain import PretrainConfig
from yaongi.tune.distill import DistillConfig

FACTS = {"student_tokens": 256_000, "teacher_parameters": 26e6, "teacher_tokens": 640_000,
         "teacher_bpb": 2.1, "eval_tokens": 40_000, "top_k": 64, "cpu_minutes": 39.0,
         "hardware": "a machine"}  # fmt: skip


def finished(bpb: float) -> Finished:
    return Finished([(100_000, 4.0), (256_000, bpb)], 4_900_000, 125, 200.0)


DONE = {("text alone", seed): finished(2.5 + seed / 10) for seed in study.SEEDS} | {
    ("teacher", seed): finished(2.4 + seed / 10 + seed / 1000) for seed in study.SEEDS
}


def test_student_and_teacher_are_of_the_sizes_asked_for():
    pair = study.PAIRS["5m"]
    sizes = [count(parse(LMConfig, m)).params_total for m in (pair.student, pair.teacher)]
    assert 4.5e6 < sizes[0] < 5.5e6 and 25e6 < sizes[1] < 27e6
    for pair in study.PAIRS.values():
        assert pair.student["vocab_size"] == pair.teacher["vocab_size"]


@pytest.mark.parametrize("name", [*study.ARMS])
def test_a_taught_student_differs_from_its_twin_by_the_teacher_alone(name, tmp_path):
    lab = study.Lab(study.PAIRS["5m"], 200_000, tmp_path / "out", tmp_path / "work")
    taught = parse(DistillConfig, lab.settings(name))
    alone = parse(PretrainConfig, lab.settings(study.ALONE))
    theirs = {k: v for k, v in taught.as_json().items() if k in alone.as_json()}
    assert theirs == alone.as_json()


def test_the_page_says_what_the_runs_say():
    text = page(DONE, "text alone", FACTS)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "2.600 (2.352 – 2.848)" in rows["text alone"]
    assert "-0.099 (-0.101 – -0.097)" in rows["teacher"]
    assert '"teacher" beats text alone at equal steps: holds' in text


def test_a_teacher_that_does_not_help_is_said_to():
    worse = {k: finished(r.val_bpb + (0.3 if k[0] == "teacher" else 0)) for k, r in DONE.items()}
    assert "does not hold: it is worse" in verdict(worse, "teacher", "text alone")
    mixed = {**DONE, ("teacher", 2): finished(3.0)}
    assert "is not decided" in verdict(mixed, "teacher", "text alone")
    some = {k: r for k, r in DONE.items() if k != ("text alone", 1)}
    assert len(gaps(some, "teacher", "text alone")) == 2
