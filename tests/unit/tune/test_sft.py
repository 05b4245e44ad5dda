import pytest
import tiny
import torch

import yaongi
from yaongi.core.errors import ArtifactError, ConfigError, DataError
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.batches import PackedConversations
from yaongi.data.corpus import read_corpus
from yaongi.evals.tasks.bpb import bpb_probes
from yaongi.model.io import load_model
from yaongi.text.tokenizer import Tokenizer
from yaongi.tune.sft import sft

CHATS = [
    [
        {"role": "system", "content": "짧게 답해요."},
        {"role": "user", "content": f"{i} 더하기 {i}는?"},
        {"role": "assistant", "content": f"{2 * i}입니다." * (1 + i % 3)},
        {"role": "user", "content": "고마워요."},
        {"role": "assistant", "content": "네!"},
    ][i % 2 :]  # with and without a system message
    for i in range(24)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    found = tiny.road(folder, CHATS)
    base = tiny.base(folder / "base", found["tokenizer"], tiny.lm(std=0.02))
    return {**found, "base": base}


config = tiny.sft_config


def packed(made, **changes):
    settings = {"batch_rows": 4, "seq_len": 128, "seed": Seed(0), "domains": ["chat"], **changes}
    return PackedConversations(made["shards"], **settings)


def train_conversations(made):
    return [list(d.metadata["messages"]) for d in read_corpus(made["corpus"], "train", "chat")]


def test_only_what_the_assistant_says_is_learnt(made):
    tok = Tokenizer.load(made["tokenizer"].path)
    batch = packed(made).batch(0)
    learnt = tok.decode(batch.targets[batch.weights > 0].tolist(), control=True)
    assert "<|im_end|>" in learnt
    for word in ("더하기", "고마워요", "짧게", "<|im_start|>", "<|endoftext|>", "<|pad|>", "user"):
        assert word not in learnt
    turns = [t for t in learnt.split("<|im_end|>") if t]
    assert "네!" in turns  # the later turns of a conversation too


def test_fine_tuning_learns_the_answers(made, tmp_path):
    cfg = config(steps=60)
    done = sft(cfg, made["base"], made["shards"], tmp_path / "sft", seed=1)
    losses = [row["loss"] for row in read_metrics(done.path)]
    assert losses[-1] < losses[0] / 3
    model = yaongi.load(done.path)
    assert model.context_len == 128
    messages = [{"role": "user", "content": "3 더하기 3은?"}]
    thanks = [*messages, {"role": "assistant", "content": "6입니다."}]
    assert model.chat([*thanks, {"role": "user", "content": "고마워요."}]) == "네!"


def test_the_artifact_names_its_parents_and_what_was_used(made, tmp_path):
    done = sft(config(steps=2), made["base"], made["shards"], tmp_path / "sft")
    assert [p.kind for p in done.manifest.parents] == ["base", "shards"]
    packing = done.manifest.counts["packing"]
    assert packing["conversations"] == len(train_conversations(made))
    assert Tokenizer.load(done.path).hash == Tokenizer.load(made["base"].path).hash
    assert not (done.path / "checkpoints").exists()
    again = sft(config(steps=2), made["base"], made["shards"], tmp_path / "sft")
    assert again.manifest.created == done.manifest.created


def test_all_weights_move_from_the_base(made, tmp_path):
    done = sft(config(steps=2), made["base"], made["shards"], tmp_path / "sft")
    before, after = (load_model(a.path).state_dict() for a in (made["base"], done))
    same = [k for k in before if torch.equal(before[k], after[k])]
    assert not [k for k in same if "bias" not in k]  # an idle router bias may stay


def test_tuning_goes_on_from_a_tuned_model(made, tmp_path):
    first = sft(config(steps=2), made["base"], made["shards"], tmp_path / "one")
    second = sft(config(steps=2), first, made["shards"], tmp_path / "two")
    assert second.manifest.parents[0].kind == "sft"


def test_an_interrupted_run_continues_bit_for_bit(made, tmp_path):
    whole = sft(config(), made["base"], made["shards"], tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_four(step):
        if step.index == 4:
            raise Stop

    cfg = config(save_s=0)
    with pytest.raises(Stop):
        sft(cfg, made["base"], made["shards"], tmp_path / "cut", on_step=stop_at_four)
    resumed = sft(cfg, made["base"], made["shards"], tmp_path / "cut")
    a, b = (load_model(x.path).state_dict() for x in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert [r["loss"] for r in read_metrics(whole.path)] == [
        r["loss"] for r in read_metrics(resumed.path)
    ]


def test_probes_are_logged(made, tmp_path):
    probes = bpb_probes(made["shards"], ["chat"], seq_len=128)
    done = sft(config(steps=2), made["base"], made["shards"], tmp_path / "sft", probes=probes)
    assert done.manifest.metrics["val_bpb/chat"] > 0


def test_the_budget_in_epochs(made, tmp_path):
    batches = packed(made)
    assert config(steps=None).steps_of(batches) == -(-2 * batches.rows_per_epoch // 4)
    assert config(steps=None, epochs=3).steps_of(batches) == -(-3 * batches.rows_per_epoch // 4)
    assert config(steps=5).steps_of(batches) is None
    done = sft(config(steps=None, epochs=1), made["base"], made["shards"], tmp_path / "sft")
    assert 1 <= done.manifest.counts["epochs"] < 1 + 4 / batches.rows_per_epoch
    with pytest.raises(ConfigError, match="not both steps and epochs"):
        config(steps=5, epochs=1)


def test_another_tokenizer_is_refused(made, tmp_path):
    other = tiny.road(tmp_path / "other", CHATS[:8])
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        sft(config(), made["base"], other["shards"], tmp_path / "sft")
    assert not (tmp_path / "sft").exists()


def test_conversations_that_do_not_fit_are_counted_or_refused(made, tmp_path):
    with pytest.raises(DataError, match="No conversation of chat fits into seq_len 8"):
        sft(config(seq_len=8), made["base"], made["shards"], tmp_path / "sft")
    done = sft(
        config(seq_len=90, batch_tokens=360, steps=1),
        made["base"],
        made["shards"],
        tmp_path / "sft",
    )
    assert done.manifest.counts["packing"]["too_long"] > 0


def test_a_damaged_base_is_named(made, tmp_path):
    base = tiny.base(tmp_path / "base", made["tokenizer"])
    weights = base.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(ArtifactError, match=r"model\.safetensors is damaged"):
        sft(config(), base, made["shards"], tmp_path / "sft")
