"""The studies: what they plan, that nothing is trained twice, and what their tables say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import ablate
import ablate_plan as plan
import ablate_report as report
import pytest
import tiny_run
from ablate_plan import Arm, Result, Run, Study

from yaongi.core.config import parse
from yaongi.core.errors import NumericsError
from yaongi.core.files import read_json
from yaongi.model.count import count
from yaongi.model.lm import LMConfig
from yaongi.train.optim.teon import Teon

A, B = Arm("dense", "adamw"), Arm("dense", "teon")
STUDY = Study("A or B?", {"A": A, "B": B}, halves=("B",))
DONE = Result(
    tokens=1000,
    steps=100,
    cpu_s=9.0,
    val_bpb=1.0,
    curve=[(500, 1.2), (1000, 1.0)],
    step_s=0.5,
    optimizer_bytes=4_000_000,
    params_total=3_000_000,
    params_active=2_000_000,
)


def scored(scores):
    """A look-up of results by (arm, lr, seed, share)."""
    return lambda run: replace(DONE, val_bpb=scores[run]) if run in scores else None


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """What the plan's tests count on, whatever the studies begin with."""
    monkeypatch.setattr(plan, "LEARNING_RATES", (1e-3, 2e-3, 4e-3))


# --- the plan --------------------------------------------------------------------------------


def test_a_sweep_comes_first_and_its_best_is_repeated():
    first = plan.missing([Study("?", {"A": A})], scored({}))
    assert first == [Run(A, lr) for lr in (1e-3, 2e-3, 4e-3)]
    swept = {Run(A, 1e-3): 1.3, Run(A, 2e-3): 1.1, Run(A, 4e-3): 1.2}
    then = plan.missing([Study("?", {"A": A})], scored(swept))
    assert then == [Run(A, 2e-3, 1), Run(A, 2e-3, 2)]
    halved = plan.missing([Study("?", {"A": A}, halves=("A",))], scored(swept))
    assert halved == [*then, *(Run(A, 2e-3, seed, 0.5) for seed in (0, 1, 2))]


def test_a_sweep_is_widened_at_its_edges_a_few_times():
    scores = {Run(A, lr): lr for lr in (1e-3, 2e-3, 4e-3)}  # the lower the better
    assert plan.missing([STUDY], scored(scores))[0] == Run(A, 5e-4)
    scores[Run(A, 5e-4)] = 5e-4
    assert plan.missing([STUDY], scored(scores))[0] == Run(A, 2.5e-4)
    scores[Run(A, 2.5e-4)] = 2.5e-4
    assert plan.best_rate(A, scored(scores)) == 2.5e-4
    assert plan.missing([STUDY], scored(scores))[0] == Run(A, 2.5e-4, 1)
    rising = {Run(A, lr): -lr for lr in (1e-3, 2e-3, 4e-3)}
    assert plan.missing([STUDY], scored(rising))[0] == Run(A, 8e-3)


def test_a_run_that_diverged_is_never_the_best():
    scores = {Run(A, 1e-3): 1.2, Run(A, 2e-3): 1.3, Run(A, 4e-3): None, Run(A, 5e-4): 1.4}
    assert plan.best_rate(A, scored(scores)) == 1e-3


def test_arms_that_studies_share_are_run_once():
    two = [Study("?", {"A": A, "B": B}), Study("?", {"A again": A})]
    runs = plan.missing(two, scored({}), guess=True)
    assert len(runs) == len(set(runs)) == 2 * (3 + 2)


# --- what is compared ------------------------------------------------------------------------


def test_the_models_are_what_the_studies_say():
    dense, hybrid = (count(parse(LMConfig, m)) for m in (ablate.DENSE, ablate.HYBRID))
    assert dense.params_active == pytest.approx(hybrid.params_active, rel=0.01)
    assert max(dense.params_total, hybrid.params_total) <= 10_000_000
    assert hybrid.cfg.layers.count("*") >= 2 and dense.cfg.pattern == "(*-)x8"
    for model in (dense.cfg, hybrid.cfg):
        Teon().check(model)
    for study in ablate.STUDIES.values():
        for arm in study.arms.values():
            assert arm.model in ablate.MODELS and arm.optimizer in ablate.OPTIMIZERS
        assert set(study.halves) <= set(study.arms)


def test_the_tables_take_what_fewer_experts_leave(monkeypatch):
    def total(model):
        tables = 100 * model["engram"]["rows"] if "engram" in model else 0
        return 1000 * model["moe"]["n_experts"] + tables + 7

    monkeypatch.setattr(ablate, "total", total)
    made = ablate.with_engram.__wrapped__(2, 7)
    assert made["engram"] == {"layers": [2, 7], "head_dim": 12, "rows": 30}
    assert made["moe"]["n_experts"] == 13
    assert total(made) == total(ablate.HYBRID)


@pytest.mark.parametrize("name", ["engram 2", "engram 2 7"])
def test_engram_models_have_as_many_parameters(name):
    assert ablate.total(ablate.MODELS[name]()) == pytest.approx(
        ablate.total(ablate.HYBRID), rel=0.01
    )


# --- the tables ------------------------------------------------------------------------------


def complete(gap: float = 0.0, half_gap: float = 0.0) -> dict:
    """A's three seeds score 1.0, 1.1, 1.2; B's are off by ``gap``, and half as long by half_gap."""
    scores: dict = {}
    for arm, more in ((A, 0.0), (B, gap)):
        scores |= {Run(arm, lr): 2.0 for lr in (1e-3, 4e-3)}
        scores |= {Run(arm, 2e-3, seed): 1.0 + 0.1 * seed + more for seed in range(3)}
    jitter = (0.0, 0.001, -0.001)
    scores |= {Run(B, 2e-3, s, 0.5): 1.0 + 0.1 * s + half_gap + jitter[s] for s in range(3)}
    return scores


def test_an_interval_is_students():
    found = report.interval([1.0, 1.1, 1.2])
    half = 4.303 * 0.1 / math.sqrt(3)
    assert found == pytest.approx((1.1, 1.1 - half, 1.1 + half))
    assert report.interval([1.0])[1:] == (-math.inf, math.inf)


def test_differences_are_taken_seed_by_seed():
    gaps = report.differences(STUDY, "B", scored(complete(gap=-0.05)))
    assert gaps == pytest.approx({0: -0.05, 1: -0.05, 2: -0.05})


@pytest.mark.parametrize(
    ("gap", "says"), [(-0.05, "holds"), (0.05, "does not hold"), (0.0, "is not decided")]
)
def test_the_verdict_has_three_outcomes(gap, says):
    assert says in report.verdict(STUDY, "B", scored(complete(half_gap=gap)))


def test_the_verdict_waits_for_its_runs():
    assert report.verdict(STUDY, "B", scored({})) == ""


def test_equal_time_is_read_between_half_and_whole_run():
    scores = complete(gap=-0.2, half_gap=-0.1)

    def look(run):
        result = scored(scores)(run)
        slower = 0.5 * 2**0.5 if run.arm == B else 0.5
        return result and replace(result, step_s=slower)

    found = report.same_time(STUDY, "B", look)
    jitter = (0.0, 0.001, -0.001)
    middle = [1 + 0.1 * s - 0.15 + jitter[s] / 2 for s in range(3)]  # sqrt(2): halfway in log steps
    assert list(found.values()) == pytest.approx(middle)


def test_the_table_says_what_was_found():
    text = report.table(STUDY, scored(complete(gap=-0.05)))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert {len(row) for row in rows} == {9}
    a, b = rows[2], rows[3]
    assert a[:4] == ["A", "3.00 M (2.00 M)", "0.002", "1.100 (0.852 – 1.348)"]
    assert b[4] == "-0.050 (-0.050 – -0.050)"
    assert b[5:7] == ["0.50", "4.0"]


def test_an_unfinished_table_says_how_far_it_is():
    scores = complete()
    del scores[Run(A, 4e-3)], scores[Run(B, 2e-3, 2)]
    text = report.table(STUDY, scored(scores))
    assert "| A |  | sweep: 2 of 3 |" in text
    assert "2 of 3 seeds" in text


def test_a_best_rate_at_the_edge_is_marked():
    scores = {Run(A, lr): lr for lr in (1e-3, 2e-3, 4e-3, 5e-4, 2.5e-4)}
    assert "0.00025 (edge of the sweep)" in report.table(STUDY, scored(scores))


@pytest.mark.parametrize("scores", [{}, complete()], ids=["nothing yet", "complete"])
def test_the_figure_is_a_png(tmp_path, scores):
    report.figure(STUDY, scored(scores), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# --- training --------------------------------------------------------------------------------

MODEL = {**tiny_run.HYBRID, "pattern": "*-*-"}
SMALL = Study("A or B?", {"AdamW": Arm("dense", "adamw"), "TEON": Arm("dense", "teon")}, ("TEON",))


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch) -> list[str]:
    """A study of two arms on a little text, small enough to be trained here."""
    monkeypatch.setattr(ablate, "MODELS", {"dense": lambda: MODEL})
    monkeypatch.setattr(ablate, "STUDIES", {"small": SMALL})
    monkeypatch.setattr(plan, "LEARNING_RATES", (2e-3, 4e-3))
    monkeypatch.setattr(plan, "WIDENINGS", 0)
    monkeypatch.setattr(plan, "SEEDS", (0, 1))
    monkeypatch.setattr(ablate, "EVALUATIONS", 2)
    monkeypatch.setattr(ablate, "EVAL_TOKENS", 200)
    small = {"batch_tokens": 128, "seq_len": 32, "precision": "fp32"}
    monkeypatch.setattr(ablate, "TRAINING", {**ablate.TRAINING, **small})
    for domain in ("ko", "math"):
        rows = [
            {"text": f"{i}번: 고양이 {i * 7 % 13}마리가 마루에서 잔다. {domain}"} for i in range(80)
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{domain}.jsonl").write_text(text, "utf-8")
    recipe = {
        "data": {
            "root": str(tmp_path),
            "sources": [{"path": f"{d}.jsonl", "domain": d} for d in ("ko", "math")],
            "val_fraction": 0.2,
        },
        "mix": {"ko": 0.5, "math": 0.5},
        "tokenizer": {"allow_smaller": True},
        "eval": {"tasks": ["bpb"]},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    return ["--recipe", str(tmp_path / "recipe.yaml"), "--tokens", "512",
            "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]  # fmt: skip


def kept(tmp_path: Path) -> dict[str, dict]:
    return {p.stem: read_json(p) for p in (tmp_path / "out" / "runs").glob("*.json")}


def test_a_stopped_study_goes_on_and_a_finished_one_trains_nothing(
    arguments, tmp_path, monkeypatch, capsys
):
    trained = []
    original = ablate.pretrain

    def watched(cfg, *args, **more):
        trained.append((cfg.optimizer.kind, cfg.optimizer.lr, more["seed"], cfg.steps))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return original(cfg, *args, **more)

    monkeypatch.setattr(ablate, "pretrain", watched)
    assert ablate.main([*arguments, "--budget"]) == 0
    assert trained == [] and "small: 8 runs, 8 left" in capsys.readouterr().out
    assert ablate.main(arguments) == 130
    assert len(kept(tmp_path)) == 2
    assert ablate.main(arguments) == 0
    assert len(trained) == 9 and trained.count(trained[2]) == 2  # only the stopped one again
    assert len(set(trained)) == 8 == len(kept(tmp_path))
    assert sorted({steps for _, _, _, steps in trained}) == [2, 4]
    assert ablate.main(arguments) == 0
    assert len(trained) == 9
    out, work = tmp_path / "out", tmp_path / "work"
    assert (out / "small.png").is_file() and list((work / "unfinished").iterdir()) == []
    assert "TEON half as long" in (out / "tables.md").read_text("utf-8")
    for content in kept(tmp_path).values():
        result = content["result"]
        assert result["val_bpb"] == pytest.approx(sum(result["by_domain"].values()) / 2)
        assert result["curve"][-1] == [result["tokens"], result["val_bpb"]]
        assert result["cpu_s"] > 0 and result["step_s"] > 0
        assert content["settings"]["steps"] == result["steps"] and not content["diverged"]
    sizes = {
        c["run"]["arm"]["optimizer"]: c["result"]["optimizer_bytes"]
        for c in kept(tmp_path).values()
    }
    assert sizes["teon"] < sizes["adamw"]  # one moment of each matrix instead of two
    assert ablate.main([*arguments, "--time-steps"]) == 0  # again, one arm after another
    quiet = json.loads((out / "step_s.json").read_text("utf-8"))
    assert set(quiet) == {"dense adamw", "dense teon"} and len(trained) == 9
    assert f"{quiet['dense teon']:.2f} |" in (out / "tables.md").read_text("utf-8")


def test_runs_stop_when_the_hours_are_spent(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablate.Lab, "cost", lambda lab, run: 100.0)
    assert ablate.main([*arguments, "--cpu-hours", "0.2"]) == 2  # 8 runs of 100 s are 0.22 hours
    assert "Use --tokens 460, " in capsys.readouterr().err
    assert not kept(tmp_path)
    monkeypatch.setattr(ablate.Ledger, "spent", lambda lab, key=None: 400.0 * len(kept(tmp_path)))
    monkeypatch.setattr(ablate, "_check_budget", lambda *args: None)
    assert ablate.main([*arguments, "--cpu-hours", "0.2"]) == 0
    assert len(kept(tmp_path)) == 2
    assert "6 runs are left, but 0.22 CPU-hours are spent" in capsys.readouterr().out


def test_a_run_that_diverges_is_a_result(arguments, tmp_path, monkeypatch):
    original = ablate.pretrain

    def breaks(cfg, *args, **more):
        if cfg.optimizer.lr == 4e-3:
            raise NumericsError("Step {step} broke.", step=3)
        return original(cfg, *args, **more)

    monkeypatch.setattr(ablate, "pretrain", breaks)
    assert ablate.main(arguments) == 0
    broken = [c for c in kept(tmp_path).values() if c["run"]["lr"] == 4e-3]
    assert [c["diverged"] for c in broken] == ["Step 3 broke."] * 2
    assert "| 0.002 (edge" in (tmp_path / "out" / "tables.md").read_text("utf-8")


def test_more_than_three_million_tokens_are_refused(arguments, capsys):
    assert ablate.main([*arguments, "--tokens", "4M"]) == 2
    assert "more than 3000000" in capsys.readouterr().err
