"""A model, prompts and settings small enough to test GRPO, and the run that the test kills."""

import json
from pathlib import Path
from typing import Any

import tiny

from yaongi.core.artifact import Artifact, open_artifact
from yaongi.core.config import parse
from yaongi.tune.grpo import GRPOConfig, grpo
from yaongi.tune.prompts import Prompts, file_prompts

STEPS = 6


def base(folder: Path, pattern: str = "M*-E") -> Artifact:
    """A model that knows nothing, with the tokenizer of ``tiny``."""
    made = tiny.road(folder / "road")
    return tiny.base(folder / "base", made["tokenizer"], tiny.lm(pattern, std=0.05))


def prompts(folder: Path, n: int = 24) -> Prompts:
    """Sums with their answers, from a file."""
    rows = [{"prompt": f"{i} 더하기 {i}는?", "answer": 2 * i} for i in range(n)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
    return file_prompts("prompts.jsonl", folder)


def config(**changes: Any) -> GRPOConfig:
    """Six steps, two for each rollout, rewarded by the parity of the length."""
    settings = {
        "optimizer": {"kind": "adamw", "lr": 3e-3, "weight_decay": 0.0},
        "rewards": ["reward_plugins:Parity"],
        "prompts": 3,
        "group_size": 4,
        "minibatches": 2,
        "max_tokens": 8,
        "seq_len": 64,
        "steps": STEPS,
        "micro_batch": 4,
        "precision": "fp32",
        "device": "cpu",
        "log_every": 1,
        "save_s": 0,
    }
    return parse(GRPOConfig, {k: v for k, v in {**settings, **changes}.items() if v is not None})


def work(inputs: Path, out: Path) -> None:
    """Train to the end, from wherever ``out`` stands."""
    grpo(config(), open_artifact(inputs / "base"), file_prompts("prompts.jsonl", inputs), out)
