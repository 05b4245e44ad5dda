import multiprocessing
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_grpo
import torch
from tiny_grpo import config

import yaongi
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import (
    ArtifactError,
    CheckpointError,
    ConfigError,
    DataError,
    RewardError,
)
from yaongi.core.runlog import read_metrics
from yaongi.core.seeds import Seed
from yaongi.infer.rules import never_said
from yaongi.model.io import load_model
from yaongi.text.foreign import load_tokenizer
from yaongi.train.loop import accumulate
from yaongi.train.precision import choose_precision
from yaongi.tune.grpo import GRPOConfig, grpo
from yaongi.tune.policy_batches import policy_batch
from yaongi.tune.policy_gradient import policy_gradient
from yaongi.tune.prompts import corpus_prompts, file_prompts
from yaongi.tune.rollouts import Rollout, Row, log_path, read_rollout

NEVER_SAID = never_said(tiny.tokenizer(), 512)
TESTS = str(Path(tiny.__file__).parent)


@pytest.fixture(autouse=True)
def plug_ins(monkeypatch):
    monkeypatch.syspath_prepend(TESTS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo")
    tiny_grpo.base(folder)
    tiny_grpo.prompts(folder)
    return folder


def start(inputs):
    return open_artifact(inputs / "base"), file_prompts("prompts.jsonl", inputs)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TESTS)
        out = tmp_path_factory.mktemp("whole") / "grpo"
        return grpo(config(), *start(inputs), out)


def rollouts(artifact):
    found = []
    while (one := read_rollout(artifact.path, len(found))) is not None:
        found.append(one)
    return found


def weights(artifact):
    return load_model(artifact.path).state_dict()


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return all(torch.equal(a[k], b[k]) for k in a)


# --- the log ---------------------------------------------------------------------------------


def test_the_log_holds_what_an_update_needs(whole, inputs):
    found = rollouts(whole)
    assert [(r.number, r.step) for r in found] == [(0, 0), (1, 2), (2, 4)]
    base = load_model(inputs / "base")
    tokenizer = load_tokenizer(inputs / "base")
    for row in found[0].rows:
        assert len(row.ids) == len(row.logprobs) <= 8
        ids = torch.tensor([row.prompt + row.ids])
        with torch.no_grad():
            logits = base.logits(base(ids).hidden)[0, len(row.prompt) - 1 : -1]
        logits[:, NEVER_SAID] = -torch.inf
        said = logits.log_softmax(-1).gather(1, torch.tensor(row.ids)[:, None])[:, 0]
        assert row.logprobs == pytest.approx(said.tolist(), abs=1e-4)
        assert row.rewards == {"Parity": float(len(row.text) % 2 == 0)}
        assert row.reward == row.rewards["Parity"]
        assert tokenizer.decode(row.ids, control=True).startswith(row.text)
    for group in range(3):
        advantages = [row.advantage for row in found[1].rows if row.group == group]
        assert len(advantages) == 4 and sum(advantages) == pytest.approx(0, abs=1e-9)


def test_completions_of_a_group_answer_one_prompt_and_differ(whole):
    for rollout in rollouts(whole):
        for group in range(3):
            rows = [row for row in rollout.rows if row.group == group]
            assert len({row.prompt_id for row in rows}) == 1
            assert len({row.seed for row in rows}) == 4
        assert len({row.prompt_id for row in rollout.rows}) == 3


def test_metrics_tell_rewards_and_lengths(whole):
    rows = read_metrics(whole.path)
    for row in rows:
        assert 0 <= row["reward"] <= 1 and row["reward"] == row["reward/Parity"]
        assert 1 <= row["completion_tokens"] <= 8
        assert row["kl"] >= 0 and row["entropy"] > 0
    assert rows[0]["clipped"] == 0 and rows[0]["kl"] == pytest.approx(0, abs=1e-6)
    logged = np.mean([r.reward for r in rollouts(whole)[0].rows])
    assert np.mean([row["reward"] for row in rows[:2]]) == pytest.approx(logged, abs=1e-6)


# --- the update ------------------------------------------------------------------------------


def by_hand(model, reference, rows, cfg):
    """The loss of DeepSeekMath's equation 3, written as it is printed, one token at a time."""
    total = 0.0
    everything = sum(len(row.ids) for row in rows)
    for row in rows:
        ids = torch.tensor([row.prompt + row.ids])
        at = slice(len(row.prompt) - 1, -1)
        chosen = torch.tensor(row.ids)[:, None]
        now, near = (
            m.logits(m(ids).hidden)[0, at]
            .masked_fill(NEVER_SAID, -torch.inf)
            .log_softmax(-1)
            .gather(1, chosen)[:, 0]
            for m in (model, reference)
        )
        for t in range(len(row.ids)):
            ratio = (now[t] - row.logprobs[t]).exp()
            bounded = ratio.clamp(1 - cfg.clip_low, 1 + cfg.clip_high)
            gain = torch.minimum(ratio * row.advantage, bounded * row.advantage)
            q = (near[t] - now[t]).exp()
            term = -(gain - cfg.kl * (q - q.log() - 1))
            scale = {
                "sequence": len(rows) * len(row.ids),
                "token": everything,
                "constant": len(rows) * cfg.max_tokens,
            }[cfg.average]
            total = total + term / scale
    return total


@pytest.mark.parametrize("variant", ["grpo", "dr_grpo", "dapo"])
def test_loss_and_gradient_are_those_of_the_paper(whole, inputs, variant):
    cfg = config(variant=variant, micro_batch=3, kl=0.05)
    rollout = rollouts(whole)[0]
    rows = sorted(rollout.rows, key=lambda r: len(r.prompt) + len(r.ids))
    model = tiny.lm(pattern="M*-", std=0.1, seed=1)
    reference = tiny.lm(pattern="M*-", std=0.05)
    for one in (model, reference):
        one.double()
    batch = policy_batch(rows, rollout, cfg, load_tokenizer(inputs / "base").pad_id)
    precision = choose_precision("fp32", torch.device("cpu"))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    objective = policy_gradient(cfg, reference.requires_grad_(False), ~NEVER_SAID)
    found = accumulate(model, batch, objective, cfg.micro_batch, precision, scaler)
    gradient = {k: p.grad.clone() for k, p in model.named_parameters()}
    model.zero_grad()
    loss = by_hand(model, reference, rows, cfg)
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-5)
    for name, p in model.named_parameters():
        assert torch.allclose(gradient[name], p.grad, rtol=1e-3, atol=1e-5), name
    assert found.metrics["clipped"] > 0  # another model than the one that sampled


def test_what_is_rewarded_becomes_likelier(inputs, tmp_path):
    cfg = config(
        steps=30, minibatches=1, prompts=4, group_size=8, kl=0, save_s=1e9,
        optimizer={"kind": "adamw", "lr": 1e-2, "weight_decay": 0.0},
        rewards=[{"kind": "format", "pattern": ".{0,6}"}], micro_batch=None,
    )  # fmt: skip
    done = grpo(cfg, *start(inputs), tmp_path / "short")
    rewards = [row["reward"] for row in read_metrics(done.path)]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.3


# --- resuming and replaying ------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_run_continues_bit_for_bit(whole, inputs, tmp_path, at):
    def stop(step):
        if step.index == at:
            raise Stop

    out = tmp_path / "cut"
    with pytest.raises(Stop):
        grpo(config(), *start(inputs), out, on_step=stop)
    resumed = grpo(config(), *start(inputs), out)
    assert same_weights(whole, resumed)
    assert rollouts(whole) == rollouts(resumed)


def test_killed_at_random_moments_nothing_differs(whole, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["tiny_grpo"])
    out, draw, killed = tmp_path / "killed", random.Random(3), 0
    partial = tmp_path / "killed.partial"
    for life in range(40):
        process = fork.Process(target=tiny_grpo.work, args=(inputs, out))
        process.start()
        before = len(list(partial.glob("rollouts/*")))
        if life < 4:  # within or right behind a rollout
            while process.is_alive() and len(list(partial.glob("rollouts/*"))) <= before:
                process.join(0.01)
            process.join(draw.uniform(0, 0.2))
            process.kill()
        process.join()
        killed += process.exitcode != 0
        if out.exists():
            break
    assert killed >= 2 and out.exists()
    found = open_artifact(out)
    assert same_weights(whole, found)
    assert rollouts(whole) == rollouts(found)


def test_replaying_repeats_the_updates_and_samples_nothing(whole, inputs, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("sampled")

    monkeypatch.setattr("yaongi.tune.rollouts.Sampler.rollout", never)
    again = grpo(config(), *start(inputs), tmp_path / "again", replay=whole)
    assert same_weights(whole, again) and rollouts(whole) == rollouts(again)
    assert [r["loss"] for r in read_metrics(again.path)] == [
        r["loss"] for r in read_metrics(whole.path)
    ]


def test_a_run_of_other_settings_cannot_be_replayed(whole, inputs, tmp_path):
    with pytest.raises(ArtifactError, match="other settings"):
        grpo(config(clip_low=0.1), *start(inputs), tmp_path / "again", replay=whole)


def test_a_log_that_was_changed_is_noticed(whole, inputs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole.path, copy)
    shutil.copy(log_path(copy, 1), log_path(copy, 0))
    with pytest.raises(CheckpointError, match="other weights before step 1"):
        grpo(config(), *start(inputs), tmp_path / "again", replay=open_artifact(copy))
    log_path(copy, 0).write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="not a whole log"):
        grpo(config(), *start(inputs), tmp_path / "again", replay=open_artifact(copy))


def test_rollouts_of_other_weights_are_sampled_anew(whole, inputs, tmp_path):
    """A budget in minutes is planned from steps that are undone but leave their rollouts behind."""
    other = grpo(config(optimizer={"kind": "adamw", "lr": 0.1}), *start(inputs), tmp_path / "other")
    shutil.copytree(other.path / "rollouts", tmp_path / "new.partial" / "rollouts")
    found = grpo(config(), *start(inputs), tmp_path / "new")
    assert rollouts(found) == rollouts(whole) != rollouts(other)
    assert same_weights(whole, found)


def test_a_budget_in_minutes_is_kept(inputs, tmp_path):
    # no warm-up and no decay: planning again on the way changes no learning rate
    schedule = {"kind": "wsd", "warmup_fraction": 0, "decay_fraction": 0}
    cfg = config(steps=None, minutes=0.05, schedule=schedule)
    done = grpo(cfg, *start(inputs), tmp_path / "timed")
    steps = done.manifest.counts["steps"]
    assert steps > 1 and done.manifest.metrics["training_s"] < 6
    used = rollouts(done)[: -(-steps // 2)]
    assert [r.step for r in used] == [2 * r.number for r in used]
    again = grpo(cfg, *start(inputs), tmp_path / "again", replay=done)
    assert same_weights(done, again)


# --- dynamic sampling ------------------------------------------------------------------------


def test_groups_that_teach_nothing_are_replaced(inputs, tmp_path):
    cfg = config(steps=1, minibatches=1, variant="dapo", overlong=0, group_size=2, prompts=8)
    assert (cfg.sampling_rounds, cfg.clip_high, cfg.kl, cfg.average) == (8, 0.28, 0.0, "token")
    (rollout,) = rollouts(grpo(cfg, *start(inputs), tmp_path / "dapo"))
    groups = [[r.reward for r in rollout.rows if r.group == g] for g in range(8)]
    assert all(len(set(group)) == 2 for group in groups)
    assert rollout.asked == 8 + rollout.equal and rollout.equal > 0


def test_where_rewards_never_differ_the_batch_stays_full_and_says_so(inputs, tmp_path):
    reward = {"kind": "format", "pattern": "never this"}
    cfg = config(steps=1, minibatches=1, sampling_rounds=3, rewards=[reward], kl=0)
    base = tiny_grpo.base(tmp_path, "M*-")  # experts would balance themselves all the same
    done = grpo(cfg, base, start(inputs)[1], tmp_path / "equal")
    (rollout,) = rollouts(done)
    assert (len(rollout.rows), rollout.asked, rollout.equal) == (12, 9, 9)
    assert read_metrics(done.path)[0]["groups_equal"] == 1
    assert same_weights(base, done)  # no reward, no decay: nothing to learn


# --- bad input -------------------------------------------------------------------------------


def test_a_reward_that_fails_ends_the_run_and_the_run_can_go_on(inputs, tmp_path):
    out = tmp_path / "failing"
    bad = config(rewards=["reward_plugins:Moody"])
    with pytest.raises(RewardError, match=r"Moody' failed on the row prompts.jsonl:\d+"):
        grpo(bad, *start(inputs), out)
    counted = config(rewards=[{"kind": "reward_plugins:Moody", "on_failure": -1}], steps=2)
    done = grpo(counted, *start(inputs), tmp_path / "counted")
    assert read_metrics(done.path)[0]["reward_failures"] > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": []}, "rewards: must not be empty"),
        ({"rewards": ["korean", "korean"]}, "each may be there once"),
        ({"group_size": 1}, "group_size: must be more than 1"),
        ({"max_tokens": 64}, "max_tokens \\(64\\) leaves no room for a prompt in seq_len \\(64\\)"),
        ({"batch_tokens": 512}, "no settings of grpo"),
        ({"steps": None}, "give a budget: steps or minutes"),
        ({"minibatches": 13}, "more than the 12 completions"),
        ({"variant": "ppo"}, "variant: must be one of"),
        ({"overlong": 9}, "overlong \\(9\\) is more than max_tokens"),
        ({"temperatur": 1}, "temperatur is not a setting"),
    ],
)
def test_wrong_settings_fail_before_anything_is_read(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_variants_set_what_their_papers_do_and_settings_win():
    dr = config(variant="dr_grpo")
    assert (dr.average, dr.scale_by_std, dr.kl) == ("constant", False, 0)
    assert config(variant="dapo", max_tokens=50).overlong == 10
    assert config(variant="dapo", clip_high=0.5).clip_high == 0.5


def test_prompts_that_leave_no_room_are_counted_or_refused(inputs, tmp_path):
    rows = ['{"prompt": "%s", "answer": 1}' % ("가 나 다 라 " * n) for n in (1, 1, 60)]
    (tmp_path / "long.jsonl").write_text("\n".join(rows), "utf-8")
    base = start(inputs)[0]
    done = grpo(config(steps=1), base, file_prompts("long.jsonl", tmp_path), tmp_path / "one")
    assert done.manifest.counts["prompts_too_long"] == 1
    (tmp_path / "long.jsonl").write_text(rows[2], "utf-8")
    with pytest.raises(DataError, match=r"No prompt of .*long.jsonl leaves room"):
        grpo(config(steps=1), base, file_prompts("long.jsonl", tmp_path), tmp_path / "two")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "x"}', "line 1 is not a prompt: it needs 'prompt'"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "nothing to answer|cannot come"),
        ("[1", "line 1 is not a prompt"),
    ],
)
def test_a_row_that_is_no_prompt_is_named(tmp_path, row, message):
    (tmp_path / "bad.jsonl").write_text(row + "\n", "utf-8")
    with pytest.raises(DataError, match=message):
        file_prompts("bad.jsonl", tmp_path)


def test_conversations_of_a_corpus_are_asked_without_their_last_answer(tmp_path):
    chats = [
        [
            {"role": "system", "content": "짧게."},
            {"role": "user", "content": f"{i} 더하기 {i}는?"},
            {"role": "assistant", "content": f"답: {2 * i}"},
        ]
        for i in range(20)
    ]
    made = tiny.road(tmp_path, chats)
    found = corpus_prompts(made["corpus"])
    assert found.parent.manifest.kind == "corpus" and len(found.rows) >= 10
    for prompt in found.rows:
        assert [m["role"] for m in prompt.messages] == ["system", "user"]
        assert prompt.row["reply"].startswith("답: ")
    with pytest.raises(DataError, match="no conversations"):
        corpus_prompts(made["corpus"], ["ko"])


def test_every_prompt_comes_once_in_each_pass(tmp_path):
    found = tiny_grpo.prompts(tmp_path, 10)
    passes = [[found.at(10 * e + i, Seed(5)).id for i in range(10)] for e in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) and passes[0] != passes[1]
    assert len(set(passes[0])) == 10


def test_the_model_can_be_used_and_traced(whole):
    assert whole.manifest.kind == "grpo"
    assert [p.kind for p in whole.manifest.parents] == ["base", "source"]
    counts = whole.manifest.counts
    assert (counts["steps"], counts["rollouts"], counts["prompts"]) == (6, 3, 24)
    assert yaongi.load(whole.path).tokenizer is not None
    assert parse(GRPOConfig, whole.manifest.config) == config()


def test_padding_of_a_batch_is_a_document_of_its_own():
    rows = [
        Row(0, "a", 0, [1, 2, 3], [4, 5], [-1.0, -2.0], "", "stop", {}, 1.0, 0.5),
        Row(0, "b", 0, [1, 2], [6], [-3.0], "", "length", {}, 0.0, -0.5),
    ]
    rollout = Rollout(0, 0, "", 1, 0, 0, rows)
    batch = policy_batch(rows, rollout, config(average="sequence"), pad_id=9)
    assert batch.ids.tolist() == [[1, 2, 3, 4], [1, 2, 6, 9]]
    assert batch.targets.tolist() == [[2, 3, 4, 5], [2, 6, 9, 9]]
    assert batch.weights.tolist() == [[0, 0, 1, 1], [0, 1, 0, 0]]
    assert batch.doc_ids.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    assert batch.extra["sampled"].tolist() == [[0, 0, -1, -2], [0, -3, 0, 0]]
    assert batch.extra["scales"].tolist() == pytest.approx([3 / 4, 3 / 2])
    assert batch.extra["log/unfinished"].tolist() == [0.5, 0.5]


def test_a_completion_that_teaches_nothing_is_not_read_but_counts():
    rows = [
        Row(0, "a", 0, [1, 2, 3], [4, 5], [-1.0, -2.0], "", "stop", {}, 1.0, 0.0),
        Row(1, "b", 0, [1, 2], [6], [-3.0], "", "length", {}, 0.0, -0.5),
    ]
    rollout = Rollout(0, 0, "", 1, 0, 0, rows)
    batch = policy_batch(rows, rollout, config(kl=0, average="token"), pad_id=9)
    assert batch.ids.tolist() == [[1, 2]] and batch.weights.tolist() == [[0, 1]]
    assert batch.extra["scales"].tolist() == pytest.approx([1 / 3])  # of three tokens, one read
    assert batch.extra["log/reward"].tolist() == [0.5]
    assert len(policy_batch(rows, rollout, config(kl=0.1), pad_id=9).ids) == 2
    assert len(policy_batch(rows[:1], rollout, config(kl=0), pad_id=9).ids) == 1
