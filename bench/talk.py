"""What a pretrained model gains and loses when it learns to answer: the page of talk-small.

Runs ``recipes/talk-small.yaml`` for each pretrained model of ``recipes/korean-small.yaml`` and
measures after every stage: held-out answers and pages in bits per byte, right answers to word
problems, and on held-out pairs how often the chosen answer is the likelier one. Finished stages and
measurements are not made again.

    python bench/talk.py [--models 26m 61m-a25m] [--bases runs/korean-small] [--threads 1]

Text is below $YAONGI_DATA; results: bench/results/talk.json and docs/results/talking.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from talk_report import page

import yaongi
from yaongi.cli.recipe import read_recipe
from yaongi.cli.road import Road
from yaongi.core.artifact import Artifact, git_commit, machine, open_artifact, versions
from yaongi.core.errors import YaongiError
from yaongi.core.files import read_json, write_bytes, write_json
from yaongi.core.intervals import wilson
from yaongi.core.seeds import Seed
from yaongi.data.corpus import read_corpus
from yaongi.data.pair_batches import PackedPairs
from yaongi.data.shards import Shards
from yaongi.evals.tasks.bpb import measure
from yaongi.infer.engine import Request
from yaongi.infer.rules import Generation
from yaongi.model.count import count
from yaongi.train.precision import choose_precision
from yaongi.tune.reference import log_prob_table
from yaongi.tune.rewards.arithmetic import answer

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes/talk-small.yaml"
STAGES = ("base", "sft", "sft-2", "dpo")
PAGE_TOKENS, ANSWER_TOKENS, SEQ_LEN = 20_000, 10_000, 512
PROBLEMS = 60  # of each language
PREFERENCES = {"pref-ko": "Korean", "pref-en": "English"}
HELD_OUT_DIALOGUES = {"small-talk": 4, "instructions": 2, "math-ko": 1, "math-en": 1, "code": 1}
SAMPLED: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "seed": 0}
ASKED = ("안녕? 너는 누구야?", "오늘 너무 피곤해.", "주말에 뭐 하면 좋을까?", "47 더하기 25는?")


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, measure it, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["26m", "61m-a25m"])
    parser.add_argument("--bases", type=Path, default=Path("runs/korean-small"))
    parser.add_argument("--work", type=Path, default=Path("runs/talk-small"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/talk.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/results/talking.md")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        found = {name: Lab(name, args.bases, args.work).result() for name in args.models}
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on from here.")
        return 130
    except YaongiError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    about = {
        "models": found,
        "threads": args.threads,
        "hardware": machine(),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    write_json(args.out, about)
    write_bytes(args.page, page(about).encode())
    print(f"written to {args.out} and {args.page}")
    return 0


class Lab:
    """One model on its road, and what is measured of it."""

    def __init__(self, name: str, bases: Path, work: Path) -> None:
        settings = [f"model={bases / name / 'base'}", f"model_name={name}"]
        self.name, self.pages = name, Shards(bases / "shards")
        self.road = Road(read_recipe(RECIPE, settings), work)

    @cached_property
    def stages(self) -> dict[str, Artifact]:
        """Every model of the road."""
        last = self.road.dpo
        tuned = {name: open_artifact(self.road.folder(name)) for name in ("sft", "sft-2")}
        return {"base": self.road.base, **tuned, "dpo": last}

    def result(self) -> dict[str, Any]:
        """Everything the page says of this model."""
        numbers = {stage: self.measured(stage) for stage in STAGES}
        manifests = {stage: self.stages[stage].manifest for stage in STAGES}
        size = count(yaongi.load(self.stages["base"].path).config)
        return {
            "stages": numbers,
            "trained": {
                stage: {"tokens": m.counts["tokens"], "seconds": m.metrics.get("training_s")}
                for stage, m in manifests.items()
            },
            "params_total": size.params_total,
            "params_active": size.params_active,
            "dialogues": self.dialogues(),
        }

    def measured(self, stage: str) -> dict[str, Any]:
        """The numbers of one stage, kept beside it."""
        made = self.stages[stage]
        note = self.road.folder(f"measured-{stage}.json")
        if not note.is_file() or read_json(note)["model"] != made.hash:
            model = yaongi.load(made.path)
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(
                note,
                {
                    "model": made.hash,
                    "pages": self._bpb(model, [self.pages], PAGE_TOKENS),
                    "answers": self._bpb(model, self._chats, ANSWER_TOKENS),
                    "preferences": self._preferences(model),
                    "problems": {d: self._right(model, d) for d in ("math-ko", "math-en")},
                },
            )
            print(f"{self.name} {stage}: measured")
        return read_json(note)

    @cached_property
    def _chats(self) -> list[Shards]:
        return [Shards(self.road.folder(f"{name}-shards")) for name in ("chat", "chat-2")]

    def _bpb(self, model: yaongi.Model, shards: Sequence[Shards], most: int) -> dict[str, float]:
        """Bits per byte of held-out text by domain; of conversations, of what is answered."""
        return {
            domain: measure(model.lm, one, domain, most, SEQ_LEN, 8).bpb
            for one in shards
            for domain in one.domains("val")
        }

    def _preferences(self, model: yaongi.Model) -> dict[str, dict[str, float]]:
        """Held-out pairs: whose chosen answer is likelier, summed and per token."""
        cfg = self.road.recipe.stated("dpo", self.road.recipe.dpo).train
        found = {}
        for domain in PREFERENCES:
            pairs = PackedPairs(
                open_artifact(self.road.folder("dpo-pairs")), 4, cfg.seq_len, Seed(0),
                domains=[domain], split="val", truncate=cfg.truncate,
            )  # fmt: skip
            precision = choose_precision("fp32", torch.device("cpu"))
            table = log_prob_table(model.lm, precision, pairs)
            mean = table / torch.as_tensor(pairs.answer_tokens)
            found[domain] = {
                "pairs": len(table),
                "chosen": table[:, 0].tolist(),
                "rejected": table[:, 1].tolist(),
                "chosen_mean": mean[:, 0].tolist(),
                "rejected_mean": mean[:, 1].tolist(),
            }
        return found

    def _right(self, model: yaongi.Model, domain: str) -> dict[str, Any]:
        """Held-out word problems whose number is right, answered greedily."""
        rows = list(itertools.islice(self._held_out(domain), PROBLEMS))
        known = [(r, number) for r in rows if (number := answer(r[-1]["content"])) is not None]
        prompts = [model.chat_ids(row[:-1]) for row, _number in known]
        rules = Generation(max_tokens=128)
        said = model.engine.complete([Request(prompt, rules) for prompt in prompts])
        right = sum(answer(s.text) == number for s, (_row, number) in zip(said, known, strict=True))
        low, high = wilson(right, len(known))
        return {"right": right, "asked": len(known), "low": low, "high": high}

    def _held_out(self, domain: str) -> Iterator[list[dict[str, str]]]:
        """The held-out conversations that fit, up to their first answer."""
        name = "chat" if domain in self._chats[0].domains("val") else "chat-2"
        for document in read_corpus(
            open_artifact(self.road.folder(f"{name}-corpus")), "val", domain
        ):
            messages = document.metadata["messages"]
            if len(messages) == 2 and sum(len(m["content"]) for m in messages) < 700:
                yield messages

    def dialogues(self) -> list[dict[str, str]]:
        """What the last two stages say to the first held-out questions, and to fixed ones."""
        questions = [{"from": "asked", "question": q, "reference": ""} for q in ASKED]
        for domain, n in HELD_OUT_DIALOGUES.items():
            for messages in itertools.islice(self._held_out(domain), n):
                question, reference = (m["content"] for m in messages)
                row = {"from": domain, "question": question, "reference": reference}
                questions.append(row)
        for stage in ("sft-2", "dpo"):
            model = yaongi.load(self.stages[stage].path)
            for row in questions:
                said = [{"role": "user", "content": row["question"]}]
                row[stage] = model.chat(said, max_tokens=60, **SAMPLED)
                row[f"{stage}, greedy"] = model.chat(said, max_tokens=60)
        return questions


if __name__ == "__main__":
    sys.exit(main())
