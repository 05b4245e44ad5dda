"""A student learns from its teacher: at hand or from disk, on text and on conversations."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import tiny_run
import torch

import yaongi
from yaongi.core.artifact import draft, open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError, DataError, TokenizerError
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.batches import MixedBatches, PackedConversations
from yaongi.model.io import load_model, save_model
from yaongi.model.lm import LM, LMConfig
from yaongi.ops.distillation import Rules
from yaongi.text.tokenizer import Tokenizer
from yaongi.train.objectives import next_token, to_device
from yaongi.train.precision import choose_precision
from yaongi.train.pretrain import pretrain
from yaongi.tune.distill import DistillConfig, distill
from yaongi.tune.distill_objective import Distillation
from yaongi.tune.teacher import CachedTeacher, CacheSettings, cache_teacher, read_places

CPU = choose_precision("fp32", torch.device("cpu"))
STUDENT = {
    "vocab_size": 448,
    "d_model": 16,
    "pattern": "*-",
    "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 8, "rope_theta": 1e4},
    "mlp": {"d_ff": 32},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Shards, their tokenizer, and a teacher with 512 rows for some 400 ids."""
    folder = tmp_path_factory.mktemp("road")
    shards, tokenizer = tiny_run.shards(folder, 120)
    teacher = pretrain(
        tiny_run.pretrain_config(steps=25), shards, tokenizer, folder / "teacher", mix=tiny_run.MIX
    )
    return {"shards": shards, "tokenizer": tokenizer, "teacher": teacher}


def config(**changes):
    settings = {
        "model": STUDENT,
        "batch_tokens": 256,
        "seq_len": 64,
        "steps": 4,
        "log_every": 1,
        "precision": "fp32",
        "compile": "off",
        "device": "cpu",
        "optimizer": {"kind": "muon", "lr": 0.01},
    }
    return parse(DistillConfig, {k: v for k, v in {**settings, **changes}.items() if v is not None})


def run(made, out, cfg=None, **more):
    settings = {"mix": tiny_run.MIX, **more}
    return distill(cfg or config(), made["teacher"], made["shards"], out, **settings)


def losses(artifact, name="loss"):
    return [row[name] for row in read_metrics(artifact.path)]


def weights(artifact):
    return load_model(artifact.path).state_dict()


def test_the_student_comes_to_expect_what_its_teacher_does(made, tmp_path):
    done = run(made, tmp_path / "student", config(steps=40, soft=1.0))
    gaps = losses(done, "divergence")
    assert gaps[-1] < 0.35 * gaps[0]
    assert losses(done, "hard")[-1] < 0.8 * losses(done, "hard")[0]  # the text by itself as well
    assert [p.kind for p in done.manifest.parents] == ["shards", "base"]
    assert done.manifest.kind == "base" and done.manifest.licences == ["CC0-1.0"]
    assert done.manifest.counts["mix"]["asked"] == tiny_run.MIX
    model = yaongi.load(done.path)
    assert model.context_len == 64 and isinstance(model.generate("철수는", max_tokens=3), str)
    again = run(made, tmp_path / "student", config(steps=40, soft=1.0))
    assert again.manifest.created == done.manifest.created


def test_student_and_text_are_those_of_pretraining_with_the_same_seed(made, tmp_path):
    """So that a teacher is the only difference to a student on text alone."""
    own = tiny_run.pretrain_config(model=STUDENT, steps=1)
    alone = pretrain(
        own, made["shards"], made["tokenizer"], tmp_path / "alone", mix=tiny_run.MIX, seed=5
    )
    taught = run(made, tmp_path / "taught", config(steps=1), seed=5)
    assert losses(taught, "hard") == pytest.approx(losses(alone), rel=1e-6)


def test_the_loss_mixes_both_parts_with_temperature_squared(made, tmp_path):
    done = run(made, tmp_path / "student", config(soft=0.3, temperature=2.0))
    for row in read_metrics(done.path):
        mixed = 0.7 * row["hard"] + 0.3 * 4 * row["divergence"]
        assert row["loss"] == pytest.approx(mixed, rel=1e-5)


def test_micro_batches_do_not_change_the_gradient(made):
    teacher, batch = load_model(made["teacher"].path), mixed(made).batch(0)
    n_ids = Tokenizer.load(made["tokenizer"].path).vocab_size
    objective = Distillation(Rules(0.5, 2.0), n_ids, teacher)
    found = []
    for cuts in ([(0, 4)], [(0, 1), (1, 4)]):
        model = LM(LMConfig.model_validate(STUDENT))
        for start, stop in cuts:
            objective(model, to_device(batch, start, stop, model.device)).nll.backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def mixed(made, seed=0):
    return MixedBatches(made["shards"], tiny_run.MIX, 4, 64, Seed(seed))


# --- cached ------------------------------------------------------------------------------------


def test_a_cache_of_nearly_everything_is_as_good_as_the_teacher(made, tmp_path):
    n_ids = Tokenizer.load(made["tokenizer"].path).vocab_size
    live = run(made, tmp_path / "live", config(temperature=2.0))
    kept = run(made, tmp_path / "kept", config(temperature=2.0, top_k=n_ids - 1))
    assert losses(kept) == pytest.approx(losses(live), rel=1e-3)
    few = run(made, tmp_path / "few", config(temperature=2.0, top_k=4))
    assert losses(few)[0] < losses(live)[0]  # a lower bound
    caches = sorted(tmp_path.glob("teacher-*"))
    assert len(caches) == 2 and [p.kind for p in few.manifest.parents] == ["shards", "base"]
    assert open_artifact(caches[0], "teacher").manifest.parents[0].hash == made["teacher"].hash


def test_runs_on_the_same_text_share_a_cache(made, tmp_path):
    run(made, tmp_path / "one", config(top_k=8))
    run(made, tmp_path / "two", config(top_k=8, soft=0.9, divergence="jsd"))
    assert len(list(tmp_path.glob("teacher-*"))) == 1
    run(made, tmp_path / "three", config(top_k=8), seed=1)
    assert len(list(tmp_path.glob("teacher-*"))) == 2


class Fails:
    """Batches that break off at a step, as a killed process would."""

    def __init__(self, batches, at):
        self.batches, self.at, self.asked = batches, at, []

    def batch(self, step):
        if step == self.at:
            raise KeyboardInterrupt
        self.asked.append(step)
        return self.batches.batch(step)


def test_an_interrupted_cache_goes_on_where_it_was(made, tmp_path):
    n_ids = Tokenizer.load(made["tokenizer"].path).vocab_size
    settings = CacheSettings({"seed": 0}, 6, 5, 1.0, n_ids)
    inputs = settings, made["teacher"], made["shards"]
    whole = cache_teacher(*inputs, mixed(made), tmp_path / "whole", CPU)
    with pytest.raises(KeyboardInterrupt):
        cache_teacher(*inputs, Fails(mixed(made), 5), tmp_path / "cut", CPU)
    (partial,) = (tmp_path / "cut").glob("*.partial")
    for name in ("ids.bin", "log_probs.bin", "places.bin"):
        with (partial / name).open("ab") as stream:
            stream.write(b"torn")
    rest = Fails(mixed(made), None)
    done = cache_teacher(*inputs, rest, tmp_path / "cut", CPU)
    assert rest.asked == [5]
    for name in ("ids.bin", "log_probs.bin", "places.bin"):
        assert (done.path / name).read_bytes() == (whole.path / name).read_bytes()
    with pytest.raises(DataError, match="does not belong to step 6"):
        CachedTeacher(done, mixed(made)).batch(6)


def test_a_killed_run_goes_on_to_the_same_weights(made, tmp_path):
    whole = run(made, tmp_path / "whole", config(top_k=8, save_s="0s"))

    def stop(step):
        if step.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, tmp_path / "cut", config(top_k=8, save_s="0s"), on_step=stop)
    done = run(made, tmp_path / "cut", config(top_k=8, save_s="0s"))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(done)[name]), name


# --- conversations -----------------------------------------------------------------------------

CHATS = [
    [
        {"role": "user", "content": f"{i} 더하기 {i}는?"},
        {"role": "assistant", "content": f"{2 * i}입니다." * (1 + i % 3)},
    ]
    for i in range(24)
]


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    found = tiny.road(folder, CHATS)
    base = tiny.base(folder / "base", found["tokenizer"], tiny.lm("*-", std=0.02))
    return {**found, "teacher": tiny.base(folder / "teacher", found["tokenizer"]), "base": base}


@pytest.mark.parametrize("top_k", [None, 6])
def test_only_what_the_assistant_says_is_taught(chats, tmp_path, top_k):
    cfg = config(model=None, steps=None, epochs=2, domains=["chat"], top_k=top_k)
    done = distill(
        cfg, chats["teacher"], chats["shards"], tmp_path / "student", student=chats["base"]
    )
    assert done.manifest.kind == "sft" and done.manifest.counts["epochs"] >= 2
    assert [p.kind for p in done.manifest.parents] == ["base", "shards", "base"]
    if top_k:
        (cache,) = tmp_path.glob("teacher-*")
        kept = read_places(cache)
        batches = PackedConversations(
            chats["shards"], 4, 64, Seed(0).split("sft", "data"), domains=["chat"]
        )
        assert kept[1] == int((batches.batch(0).weights > 0).sum())


def test_a_masked_place_has_no_gradient(chats):
    batch = PackedConversations(chats["shards"], 4, 64, Seed(0), domains=["chat"]).batch(0)
    teacher, model = load_model(chats["teacher"].path), tiny.lm("*-")
    n_ids = Tokenizer.load(chats["tokenizer"].path).vocab_size
    part = to_device(batch, 0, 4, model.device)
    hidden = []

    def keep(_module, _inputs, out):
        out.retain_grad()
        hidden.append(out)

    model.norm_f.register_forward_hook(keep)
    found = Distillation(Rules(1.0, 2.0), n_ids, teacher)(model, part)
    found.nll.backward()
    moved = hidden[0].grad.abs().sum(-1) > 0
    assert torch.equal(moved, part.weights > 0)
    hard = next_token(model, part).nll / part.weights.sum()
    assert float(found.metrics["hard"]) == pytest.approx(float(hard.detach()), rel=1e-5)


# --- what cannot be distilled ------------------------------------------------------------------


def test_a_teacher_with_another_tokenizer_is_refused(made, chats, tmp_path):
    with pytest.raises(TokenizerError, match=r"different tokenizers: .*yaongi data ask"):
        distill(
            config(model=None),
            chats["teacher"],
            made["shards"],
            tmp_path / "x",
            student=made["teacher"],
            mix=tiny_run.MIX,
        )
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        wide = config(model={**STUDENT, "vocab_size": 512})
        distill(wide, chats["teacher"], made["shards"], tmp_path / "x", mix=tiny_run.MIX)
    assert not list(tmp_path.iterdir())  # said before any work


def test_a_teacher_of_shorter_sequences_is_refused(made, tmp_path):
    with pytest.raises(DataError, match=r"knows sequences of 64 tokens, and seq_len is 128"):
        run(made, tmp_path / "x", config(seq_len=128))


def test_a_teacher_whose_numbers_are_broken_is_named(made, tmp_path):
    model = load_model(made["teacher"].path)
    with torch.no_grad():
        model.norm_f.weight[:] = torch.nan
    parents = [made["shards"], made["tokenizer"]]
    with draft(tmp_path / "bad", "base", config={"seq_len": 64}, parents=parents) as work:
        save_model(model, work.path)
        Tokenizer.load(made["tokenizer"].path).save(work.path)
        bad = work.finish()
    for top_k in (None, 4):
        with pytest.raises(yaongi.core.errors.NumericsError, match=r"not finite|loss nan"):
            run({**made, "teacher": bad}, tmp_path / f"x{top_k}", config(top_k=top_k))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "needs one student"),
        ({"top_k": 4, "steps": None, "minutes": 1}, "number of steps must be"),
        ({"top_k": 5000}, "must be less than the"),
        ({"epochs": 2, "steps": None}, "epochs is for conversations"),
        ({"steps": None}, "give a budget"),
        ({"beta": 1.0}, "beta: must be less than 1"),
        ({"soft": 0}, "soft: must be more than 0"),
        ({"divergence": "backward"}, "divergence: must be one of"),
        ({"model": {**STUDENT, "vocab_size": 300}}, "tokenizer has .* ids but the model only 300"),
    ],
)
def test_settings_that_do_not_fit_are_named(made, tmp_path, changes, message):
    with pytest.raises((ConfigError, TokenizerError), match=message):
        run(made, tmp_path / "x", config(**changes))


def test_a_cache_of_another_teacher_is_not_used(made, tmp_path):
    run(made, tmp_path / "one", config(top_k=8, steps=2))
    (cache,) = tmp_path.glob("teacher-*")
    log_probs = np.fromfile(cache / "log_probs.bin", np.float16)
    assert len(log_probs) == 2 * 256 * 9
    other = pretrain(
        tiny_run.pretrain_config(steps=1),
        made["shards"],
        made["tokenizer"],
        tmp_path / "other",
        mix=tiny_run.MIX,
    )
    run({**made, "teacher": other}, tmp_path / "two", config(top_k=8, steps=2))
    assert len(list(tmp_path.glob("teacher-*"))) == 2
    with pytest.raises(ArtifactError, match="different settings"):
        run(made, tmp_path / "one", config(top_k=9, steps=2))
