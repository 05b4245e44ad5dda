"""The sums of bench/grpo.py are right, held out where they should be, and the page adds up."""

from itertools import islice
from pathlib import Path

import grpo as bench

from yaongi.core.config import parse
from yaongi.core.files import write_json
from yaongi.core.seeds import Seed
from yaongi.tune.grpo import GRPOConfig
from yaongi.tune.rewards.arithmetic import answer
from yaongi.tune.sft import SFTConfig


def test_every_working_is_right():
    for a in range(10, 100):
        for b in range(10, 100):
            assert_right("+", a, b, a + b)
            if a >= b:
                assert_right("-", a, b, a - b)


def assert_right(op, a, b, value):
    ones, tens = bench.worked(op, a, b).split(" ")
    for column in (ones, tens):
        asked, _, found = column.partition("=")
        assert eval(asked) == int(found)
    assert int(tens.partition("=")[2]) * 10 + int(ones.partition("=")[2]) % 10 == value


def test_questions_have_their_answers_and_held_out_pairs_stay_out():
    made = {s: list(islice(bench.sums(Seed(1).split("x"), s), 300)) for s in ("train", "test")}
    for rows in made.values():
        assert all(answer(reply) == int(value) for _, reply, value in rows)
    pairs = {s: {frozenset(map(int, _numbers(q))) for q, _, _ in rows} for s, rows in made.items()}
    assert not pairs["train"] & pairs["test"]


def _numbers(question):
    return "".join(c if c.isdigit() else " " for c in question).split()


def test_settings_are_accepted():
    parse(GRPOConfig, {**bench.GRPO, "steps": 1})
    parse(SFTConfig, bench.START)
    parse(SFTConfig, {**bench.CONTINUED, "steps": 1})


def test_the_page_compares_seed_by_seed(tmp_path: Path):
    after = {"grpo": (0.7, 0.8, 0.75), "sft": (0.4, 0.3, 0.35)}
    for arm, values in after.items():
        for seed, value in enumerate(values):
            found = {"seed": seed, "arm": arm, "before": 0.4, "after": value, "cpu_s": 300.0,
                     "hardware": {"cpu": "a CPU"}}  # fmt: skip
            write_json(tmp_path / f"{arm}-{seed}.json", found)
    lab = bench.Lab(tmp_path, tmp_path / "work", tmp_path, 10)
    bench.write_page(lab, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text("utf-8")
    assert "40.0% → 70.0% | 40.0% → 80.0%" in text and "| +35.0 (+22.6 – +47.4) |" in text
    assert "GRPO against more SFT, same demonstrations: +40.0" in text and "5.0 minutes" in text
