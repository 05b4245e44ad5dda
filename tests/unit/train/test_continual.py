"""Continual pretraining: resumes exactly with what its controller decided, keeps what it must."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch

from yaongi.core.artifact import Artifact, draft, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, DataError
from yaongi.core.runlog import read_metrics
from yaongi.data.corpus import read_corpus
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.evals.run import bpb_probes
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.extend import Extension
from yaongi.model.io import load_model
from yaongi.model.lm import LM
from yaongi.text.extend import ExtendConfig
from yaongi.text.extend import stage as extend
from yaongi.text.foreign import load_tokenizer
from yaongi.train.continual import ContinueConfig, continue_pretraining
from yaongi.train.freezing import Freezing
from yaongi.train.pretrain import pretrain
from yaongi.train.schedule import Cosine

MIX = {"ko": 0.75, "math": 0.25}
SMALL = {**tiny_run.HYBRID, "vocab_size": 400}
LLAMA: dict[str, Any] = {
    "vocab_size": 400,
    "d_model": 32,
    "pattern": "*-*-",
    "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
    "mlp": {"d_ff": 64, "activation": "swiglu"},
}


def config(**changes: Any) -> ContinueConfig:
    settings = {
        "batch_tokens": 256,
        "seq_len": 64,
        "steps": 8,
        "log_every": 1,
        "eval_every": 2,
        "precision": "fp32",
        "compile": "off",
        "device": "cpu",
        "optimizer": {"kind": "muon", "lr": 0.01},
        "replay": ["math"],
    }
    return parse(ContinueConfig, {**settings, **changes})


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Shards and tokenizer, a base of every layer kind, a longer vocabulary and its shards."""
    folder = tmp_path_factory.mktemp("road")
    shards, tokenizer = tiny_run.shards(folder)
    cfg = tiny_run.pretrain_config(model=SMALL, steps=2)
    base = pretrain(cfg, shards, tokenizer, folder / "base", mix={"math": 1.0})
    corpus = open_artifact(folder / "corpus")
    texts = [document.text for document in read_corpus(corpus, "train")]
    longer = extend(
        ExtendConfig(add=20), base.path, texts, folder / "longer", parents=[tokenizer, corpus]
    )
    again = build_shards(ShardsConfig(), corpus, longer, folder / "longer-shards")
    return {"base": base, "shards": shards, "tokenizer": tokenizer, "corpus": corpus,
            "longer": longer, "longer-shards": again}  # fmt: skip


class Drift:
    """Stands for bits per byte that training is sure to make worse: how far the norms are from
    where they began."""

    def __init__(self, start: Artifact) -> None:
        self.norm = load_model(start.path).norm_f.weight.detach()

    def __call__(self, model: LM) -> float:
        return 1 + 10 * float((model.norm_f.weight - self.norm).abs().mean())


def probes(road: dict[str, Artifact]) -> dict[str, Any]:
    return {"val_bpb/ko": lambda model: 3.0, "val_bpb/math": Drift(road["base"])}


def train(
    road: dict[str, Artifact], out: Path, *, stop_after: int | None = None, **changes: Any
) -> Artifact:
    def on_step(step):
        if step.index == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    longer = changes.pop("longer", False)
    return continue_pretraining(
        config(**changes),
        road["base"],
        road["longer-shards" if longer else "shards"],
        out,
        mix=MIX,
        vocabulary=road["longer"] if longer else None,
        seed=5,
        probes=probes(road),
        on_step=on_step,
    )


STAGES = [
    {"share": 0.25, "train": ["new-in", "new-out"]},
    {"share": 0.25, "train": ["new-in", "head"]},
    {"share": 0.5, "train": ["all"]},
]


@pytest.fixture(scope="module")
def whole(road, tmp_path_factory) -> Artifact:
    """With a controller that acts, a longer vocabulary and stages; nobody disturbed it."""
    out = tmp_path_factory.mktemp("whole") / "base"
    return train(road, out, longer=True, stages=STAGES)


def log(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in read_metrics(folder)]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_result_is_a_base_that_says_what_was_done(whole, road):
    manifest = whole.manifest
    assert manifest.kind == "base"
    assert [p.kind for p in manifest.parents] == ["base", "shards", "tokenizer"]
    assert manifest.metrics["before/val_bpb/math"] == 1.0
    assert manifest.metrics["val_bpb/math"] > 1.01
    decided = manifest.counts["decisions"]
    assert [d["step"] for d in decided][:1] == [6]  # the first four steps train no norm
    assert manifest.counts["mix"]["asked"] == MIX
    assert manifest.counts["mix"]["reached"]["math"] > 0.25
    assert (whole.path / "forgetting.svg").read_text("utf-8").count("<polyline") == 4
    lines = read_metrics(whole.path)
    assert [line["step"] for line in lines] == list(range(9))
    assert lines[0] == {"step": 0, "val_bpb/ko": 3.0, "val_bpb/math": 1.0,
                        "share/ko": 0.75, "share/math": 0.25}  # fmt: skip
    assert lines[6]["decision"] == {"math": [0.25, 0.375]} and lines[6]["share/ko"] == 0.625
    assert load_tokenizer(whole.path).vocab_size == 420
    assert load_model(whole.path, verify=True).cfg.vocab_size == 448


@pytest.mark.parametrize("stop_after", [1, 3, 5, 6, 7])
def test_stopped_and_resumed_nothing_differs(whole, road, tmp_path, stop_after):
    """Before and behind the decision, and in every stage of freezing."""
    out = tmp_path / "base"
    with pytest.raises(KeyboardInterrupt):
        train(road, out, longer=True, stages=STAGES, stop_after=stop_after)
    resumed = train(road, out, longer=True, stages=STAGES)
    assert weights(resumed.path) == weights(whole.path)
    assert log(resumed.path) == log(whole.path)
    assert resumed.manifest.counts == whole.manifest.counts
    assert resumed.hash == whole.hash


@pytest.mark.parametrize("cut", [None, 2])
def test_killed_before_or_behind_a_checkpoint_nothing_differs(whole, road, tmp_path, cut):
    """As kill -9 leaves it: the log further than the newest checkpoint, or none there yet."""

    class Killed(BaseException):
        pass

    def on_step(step):
        if step.index == 7:
            raise Killed

    out = tmp_path / "base"
    with pytest.raises(Killed):
        continue_pretraining(
            config(stages=STAGES), road["base"], road["longer-shards"], out, mix=MIX,
            vocabulary=road["longer"], seed=5, probes=probes(road), on_step=on_step,
        )  # fmt: skip
    checkpoints = tmp_path / "base.partial" / "checkpoints"
    for path in checkpoints.glob("step-*"):
        if cut is None or int(path.name.removeprefix("step-")) > cut:
            path.rename(tmp_path / path.name)
    resumed = train(road, out, longer=True, stages=STAGES)
    assert weights(resumed.path) == weights(whole.path)
    assert log(resumed.path) == log(whole.path)


def test_the_decision_changes_the_data_and_only_from_its_step_on(road, tmp_path):
    plain = train(road, tmp_path / "plain", forgetting=None)
    acting = train(road, tmp_path / "acting")
    first = next(d["step"] for d in acting.manifest.counts["decisions"])
    losses = [[line.get("loss") for line in read_metrics(a.path)] for a in (plain, acting)]
    assert losses[0][: first + 1] == losses[1][: first + 1]
    assert losses[0][first + 1 :] != losses[1][first + 1 :]
    assert plain.manifest.counts["decisions"] == []


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "teon"])
def test_old_rows_stay_while_new_ones_learn_and_all_survives_reload(
    road, tmp_path, monkeypatch, tied, optimizer
):
    """The whole run in the first stage; then saved, exported and read back."""
    shape = {**LLAMA, "tied": tied}
    start = pretrain(
        tiny_run.pretrain_config(model=shape, steps=1), road["shards"], road["tokenizer"],
        tmp_path / "base", mix=MIX,
    )  # fmt: skip
    before = load_model(start.path)
    made = continue_pretraining(
        config(
            steps=3,
            optimizer={"kind": optimizer, "lr": 0.01, "weight_decay": 0.3},
            stages=[{"share": 1, "train": ["new-in", "new-out"]}],
            forgetting=None,
        ),
        start,
        road["longer-shards"],
        tmp_path / "done",
        mix=MIX,
        vocabulary=road["longer"],
        probes=probes(road),
    )
    after = load_model(made.path, verify=True)
    old = before.state_dict()
    for name, value in after.state_dict().items():
        assert torch.equal(value[: len(old[name])], old[name]), name
    grown = len(after.embeddings.weight)
    assert grown == 448 and (after.lm_head is None) == tied
    for matrix in {id(p): p for p in (after.embeddings.weight, after.head_weight)}.values():
        assert matrix[400:420].std() > 0
    ids = torch.arange(0, 420)[None]
    expected = after.logits(after(ids).hidden)
    export_hf(made.path, tmp_path / "hf")
    back = load_model(import_hf(tmp_path / "hf", tmp_path / "back").path)
    assert (back.lm_head is None) == tied
    assert torch.allclose(back.logits(back(ids).hidden), expected, atol=1e-5)


def test_new_rows_can_be_distilled_first_and_a_resumed_run_is_the_same(road, tmp_path):
    """Distilled once: behind a checkpoint the rows come from there."""
    distil = {"distill": {"steps": 4, "rows": 4}, "longer": True, "steps": 4}
    plain = train(road, tmp_path / "plain", longer=True, steps=4)
    whole = train(road, tmp_path / "whole", **distil)
    with pytest.raises(KeyboardInterrupt):
        train(road, tmp_path / "broken", stop_after=3, **distil)
    resumed = train(road, tmp_path / "broken", **distil)
    assert weights(resumed.path) == weights(whole.path) != weights(plain.path)


def test_the_learning_rate_warms_up_and_decays_again(road, tmp_path):
    made = train(road, tmp_path / "base", schedule={"kind": "cosine", "warmup_fraction": 0.25,
                                                    "final": 0.1})  # fmt: skip
    rates = [line["lr"] for line in read_metrics(made.path) if "lr" in line]
    assert rates[0] < rates[1] < max(rates)
    assert max(rates) == pytest.approx(0.01) and rates[-1] == pytest.approx(0.001)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert config().schedule == Cosine(warmup_fraction=0.05, final=0.1)


def test_bits_per_byte_work_as_probes(road, tmp_path):
    measures = bpb_probes(road["shards"], max_tokens=300, seq_len=64)
    made = continue_pretraining(
        config(steps=2), road["base"], road["shards"], tmp_path / "base", mix=MIX, probes=measures
    )
    metrics = made.manifest.metrics
    assert metrics["before/val_bpb/ko"] != metrics["val_bpb/ko"]
    assert continue_pretraining(
        config(steps=2), road["base"], road["shards"], tmp_path / "base", mix=MIX, probes=measures
    ).hash == made.hash  # fmt: skip


def test_licences_of_the_model_and_the_text_are_passed_on(road, tmp_path):
    export_hf(
        pretrain(
            tiny_run.pretrain_config(model=LLAMA, steps=1), road["shards"], road["tokenizer"],
            tmp_path / "made", mix=MIX,
        ).path,
        tmp_path / "theirs",
    )  # fmt: skip
    (tmp_path / "theirs/manifest.json").unlink()
    (tmp_path / "theirs/LICENSE").write_text("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n")
    (tmp_path / "theirs/NOTICE").write_text("Llama 3.2 is licensed under ...\n")
    start = import_hf(tmp_path / "theirs", tmp_path / "model")
    shards = build_shards(ShardsConfig(), road["corpus"], start, tmp_path / "shards")
    made = continue_pretraining(
        config(steps=1), start, shards, tmp_path / "base", mix=MIX, probes=probes(road)
    )
    assert {"llama3.2", "CC0-1.0"} <= set(made.manifest.licences)
    assert (made.path / "LICENSE").is_file() and (made.path / "NOTICE").is_file()


def test_frozen_routers_keep_their_bias(road, tmp_path):
    """The balance of experts is no gradient, but it is a change."""
    model = load_model(road["base"].path)
    freezing = Freezing(model, config(stages=[{"share": 1, "train": ["head"]}]).stages)
    freezing.prepare(0, 1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.after_step({3: torch.tensor([5.0, 0.0, 1.0, 0.0])})
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    freezing.release()
    model.after_step({3: torch.tensor([5.0, 0.0, 1.0, 0.0])})
    assert any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())


# --- what cannot be ---------------------------------------------------------------------------


def test_shards_of_another_tokenizer_are_refused(road, tmp_path):
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        continue_pretraining(
            config(),
            road["base"],
            road["longer-shards"],
            tmp_path / "x",
            mix=MIX,
            probes=probes(road),
        )
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        continue_pretraining(
            config(), road["base"], road["shards"], tmp_path / "x", mix=MIX,
            vocabulary=road["longer"], probes=probes(road),
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_that_extends_another_tokenizer_is_refused(road, tmp_path):
    extension = Extension.read(road["longer"].path)
    strange = Extension(
        **{**vars(extension), "base": {"path": "elsewhere", "sha256": "0" * 64}, "similar": None}
    )
    with draft(tmp_path / "strange", "tokenizer", config={}, parents=[road["tokenizer"]]) as work:
        strange.write(work.path)
        vocabulary = work.finish()
    with pytest.raises(ConfigError, match=r"extends the tokenizer elsewhere \(000000000000\)"):
        continue_pretraining(
            config(), road["base"], road["shards"], tmp_path / "x", mix=MIX,
            vocabulary=vocabulary, probes=probes(road),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay": ["code"]}, "replay names 'code', which has no share"),
        ({"stages": [{"share": 1, "train": ["new-in"]}]}, "no tokens are new"),
        ({"optimizer": {"kind": "teon", "stack": 3}}, "stacks 3 layers"),
    ],
)
def test_settings_that_do_not_fit(road, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(road, tmp_path / "x", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "give a budget"),
        ({"eval_every": 0}, "set eval_every, or forgetting=null"),
        ({"stages": [{"share": 0.5, "train": ["all"]}]}, "add up to 0.5, not to 1"),
        ({"stages": [{"share": 1, "train": []}]}, "must not be empty"),
        ({"stages": [{"share": 1, "train": ["new"]}]}, "must be one of"),
        ({"init": "meen"}, "Did you mean 'mean'"),
        ({"replai": ["ko"]}, "Did you mean 'replay'"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_a_domain_to_replay_without_data_is_refused(road, tmp_path):
    with pytest.raises(DataError, match=": 'code'"):
        continue_pretraining(
            config(replay=["code"]), road["base"], road["shards"], tmp_path / "x",
            mix={"ko": 0.8, "code": 0.2}, probes=probes(road),
        )  # fmt: skip
