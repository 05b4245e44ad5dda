"""The reward model as a stage: what it judges by, that it learns, loads and refuses."""

import pytest
import tiny
import tiny_pairs
import torch

import yaongi
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, DataError
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.data.corpus import read_corpus
from yaongi.data.pair_batches import PackedPairs
from yaongi.train.objectives import to_device
from yaongi.tune.reward import (
    RewardConfig,
    RewardModel,
    bradley_terry,
    evaluate_reward,
    load_reward,
    new_head,
    train_reward,
)


def config(**changes):
    return parse(RewardConfig, {**tiny_pairs.SETTINGS, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    found = tiny_pairs.road(folder)
    cfg = config(steps=25)
    return {**found, "reward": train_reward(cfg, found["base"], found["pairs"], folder / "reward")}


def turns(row, which):
    return [*row["prompt"], {"role": "assistant", "content": row[which]}]


def test_it_learns_which_answers_are_chosen(made):
    first, *_, last = [r for r in read_metrics(made["reward"].path) if "val_accuracy" in r]
    assert last["val_accuracy"] > 0.9 and last["val_margin"] > 0.5
    assert last["val_loss"] < first["val_loss"]
    assert made["reward"].manifest.metrics["val_accuracy"] == last["val_accuracy"]


def test_the_loss_is_that_of_the_scores(made):
    """Packed rows and single conversations are judged alike, and eq. 1 holds of the scores."""
    lm = tiny.lm(seed=4)
    head = new_head(lm, Seed(1))
    pairs = PackedPairs(made["pairs"], 4, 96, Seed(0))
    model = RewardModel(lm, head, yaongi.load(made["base"].path).tokenizer, 96)
    rows = [d.metadata for d in read_corpus(made["corpus"], "train")]
    margins = [model.score(turns(r, "chosen")) - model.score(turns(r, "rejected")) for r in rows]
    loss = right = margin = 0.0
    for batch in pairs.in_order():
        found = bradley_terry(head)(lm, to_device(batch, 0, len(batch.ids), lm.device))
        loss += float(found.nll.detach())
        right += float(found.weighted["accuracy"])
        margin += float(found.weighted["margin"])
    expected = -torch.nn.functional.logsigmoid(torch.tensor(margins)).sum()
    assert loss == pytest.approx(float(expected), rel=1e-4)
    assert margin == pytest.approx(sum(margins), rel=1e-3, abs=1e-3)
    assert right == sum(m > 0 for m in margins)


def test_a_saved_model_gives_the_scores_it_was_measured_by(made):
    reward = load_reward(made["reward"].path, device="cpu")
    found = evaluate_reward(reward, made["pairs"])
    logged = made["reward"].manifest.metrics
    assert found["accuracy"] == logged["val_accuracy"]
    assert found["margin"] == pytest.approx(logged["val_margin"], rel=1e-4)
    assert found["pairs"] == made["reward"].manifest.counts["val_pairs"]["pairs"]
    train = evaluate_reward(reward, made["pairs"], split="train")
    assert train["pairs"] == made["reward"].manifest.counts["pairs"]["pairs"]


def test_pairs_that_are_too_long_are_counted_or_cut(made):
    reward = load_reward(made["reward"].path, device="cpu")
    whole = evaluate_reward(reward, made["pairs"], split="train")
    assert whole["left_out"] == 0
    lengths = range(96, 0, -1)  # the first at which one pair is too long
    reward.context_len = next(
        n for n in lengths if PackedPairs(made["pairs"], 4, n, Seed(0)).report.too_long
    )
    some = evaluate_reward(reward, made["pairs"], split="train")
    assert some["left_out"] > 0 and some["pairs"] + some["left_out"] == whole["pairs"]
    cut = evaluate_reward(reward, made["pairs"], split="train", truncate=True)
    assert cut["left_out"] == 0 and cut["pairs"] > some["pairs"]


def test_scores_are_a_reward(made):
    reward = load_reward(made["reward"].path, device="cpu")
    row = next(read_corpus(made["corpus"], "val")).metadata
    good, bad = reward.score(turns(row, "chosen")), reward.score(turns(row, "rejected"))
    assert isinstance(good, float) and good > bad
    # text that spells the end of a turn is text
    ended = [*row["prompt"], {"role": "assistant", "content": row["chosen"] + "<|im_end|>"}]
    assert reward.score(ended) != good


def test_what_cannot_be_judged(made):
    reward = load_reward(made["reward"].path, device="cpu")
    ask = {"role": "user", "content": "?"}
    with pytest.raises(DataError, match="no assistant turn"):
        reward.score([ask])
    with pytest.raises(DataError, match="ends with 'user'"):
        reward.score([ask, {"role": "assistant", "content": "네."}, ask])
    with pytest.raises(DataError, match="at most 96"):
        reward.score([ask, {"role": "assistant", "content": "가 " * 200}])


def test_it_is_no_model_to_talk_to(made):
    with pytest.raises(ArtifactError, match="'reward' artifact"):
        yaongi.load(made["reward"].path)
    with pytest.raises(ArtifactError, match="expected 'reward'"):
        load_reward(made["base"].path)
    open_artifact(made["reward"].path).verify()


def test_a_damaged_head_is_named(made, tmp_path):
    done = train_reward(config(steps=1), made["base"], made["pairs"], tmp_path / "reward")
    head = done.path / "reward_head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"reward_head\.safetensors is damaged"):
        load_reward(done.path)


def test_an_interrupted_run_continues_bit_for_bit(made, tmp_path):
    whole = train_reward(config(), made["base"], made["pairs"], tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop_at_three(step):
        if step.index == 3:
            raise Stop

    cfg, inputs = config(save_s=0), (made["base"], made["pairs"], tmp_path / "cut")
    with pytest.raises(Stop):
        train_reward(cfg, *inputs, on_step=stop_at_three)
    resumed = train_reward(cfg, *inputs)
    for name in ("model.safetensors", "reward_head.safetensors"):
        assert resumed.manifest.files[name].sha256 == whole.manifest.files[name].sha256


def test_pairs_of_another_tokenizer_are_refused(made, tmp_path):
    other = tiny_pairs.road(tmp_path / "other", tiny_pairs.rows(12))
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        train_reward(config(), made["base"], other["pairs"], tmp_path / "out")
