"""The runs that the resume test kills: importable, so that a fork server can start it in 0.1 s."""

import warnings
from pathlib import Path

import tiny_run
import torch

from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.model.count import count
from yaongi.model.lm import LM
from yaongi.train.continual import ContinueConfig, continue_pretraining
from yaongi.train.optim.muon import Muon
from yaongi.train.pretrain import PretrainConfig, pretrain

STEPS = 40
MODEL = {
    "vocab_size": 8192,
    "d_model": 192,
    "pattern": "ME-M*E-M-",
    "attention": {"n_heads": 3, "n_kv_heads": 1, "head_dim": 64},
    "mamba": {"n_heads": 6, "head_dim": 64, "n_groups": 1, "d_state": 64},
    "mlp": {"d_ff": 768},
    "moe": {"n_experts": 8, "top_k": 2, "d_ff": 192, "d_shared": 384},
}


def config(save_s: float) -> PretrainConfig:
    """About 5 M parameters with every layer kind, rows of many short documents, Muon."""
    cfg = tiny_run.pretrain_config(
        model=MODEL,
        steps=STEPS,
        batch_tokens=384,
        seq_len=96,
        micro_batch=2,
        threads=1,
        save_s=save_s,
        optimizer={"kind": "muon", "lr": 2e-3},
    )
    assert 4e6 < count(cfg.model).params_total < 6e6
    return cfg


def work(inputs: Path, out: Path, save_s: float) -> None:
    """Train to the end, from wherever ``out`` stands."""
    shards, tokenizer = open_artifact(inputs / "shards"), open_artifact(inputs / "tokenizer")
    pretrain(config(save_s), shards, tokenizer, out, mix=tiny_run.MIX, seed=3)


STAGES = [
    {"share": 0.2, "train": ["head"]},
    {"share": 0.2, "train": ["head", "layers"]},
    {"share": 0.6, "train": ["all"]},
]


def continued(inputs: Path, out: Path, save_s: float) -> None:
    """Go on from a model that learnt nothing, with stages and a controller that has to act."""
    shards, tokenizer = open_artifact(inputs / "shards"), open_artifact(inputs / "tokenizer")
    first = config(1e9).model_copy(update={"steps": 1})
    base = pretrain(first, shards, tokenizer, inputs / "base", mix=tiny_run.MIX, seed=3)
    shared = {"micro_batch", "batch_tokens", "seq_len", "steps", "threads", "save_s", "log_every",
              "precision", "compile", "device", "optimizer"}  # fmt: skip
    settings = {k: v for k, v in config(save_s).as_json().items() if k in shared}
    cfg = parse(ContinueConfig, {**settings, "replay": ["math"], "eval_every": 4, "stages": STAGES})
    probes = {"val_bpb/math": drift}
    continue_pretraining(cfg, base, shards, out, mix=tiny_run.MIX, seed=3, probes=probes)


def drift(model: LM) -> float:
    """Stands for bits per byte that training makes worse: how far the norms moved."""
    return 1 + float((model.norm_f.weight - 1).abs().mean()) * 20


# torch imports much on the first optimizer; done here once, for all children of the fork server
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    Muon().build(torch.nn.Linear(2, 2)).zero_grad()
