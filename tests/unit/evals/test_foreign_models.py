"""Imported models are scored with the tokenizer they came with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import foreign_road
import foreign_tokenizers
import pytest
import torch

import yaongi
from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact
from yaongi.core.errors import TokenizerError
from yaongi.core.seeds import Seed
from yaongi.data.corpus import read_corpus
from yaongi.data.shards import Shards, ShardsConfig, build_shards
from yaongi.evals.task import Subject
from yaongi.evals.tasks.bpb import BitsPerByte, bpb_probe
from yaongi.evals.tasks.exact_match import ExactMatch
from yaongi.text.foreign import ForeignTokenizer

KINDS = {
    "byte-level": (foreign_tokenizers.make, foreign_tokenizers.LLAMA_LIKE),
    "sentencepiece": (foreign_tokenizers.make_sentencepiece, foreign_tokenizers.LLAMA2),
}


@pytest.fixture(scope="module", params=list(KINDS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return foreign_road.road(tmp_path_factory.mktemp("road"), *KINDS[request.param])


def loaded(made: Any) -> tuple[Any, ForeignTokenizer]:
    whole = yaongi.load(made["base"].path)
    assert isinstance(whole.tokenizer, ForeignTokenizer)
    return whole.lm, whole.tokenizer


@torch.no_grad()
def test_bits_per_byte_equal_a_computation_by_hand(made: Any) -> None:
    """The bytes are those of the texts, also where a tokenizer puts a space before each."""
    model, tok = loaded(made)
    bits, size = 0.0, 0
    for document in read_corpus(made["corpus"], "val", "ko"):
        ids = torch.tensor([tok.text_ids(document.text)])
        log_probs = model.logits(model(ids[:, :-1]).hidden).log_softmax(-1)
        bits -= float(log_probs.gather(-1, ids[:, 1:, None]).sum()) / math.log(2)
        size += len(document.text.encode())
    found = bpb_probe(made["shards"], "ko", seq_len=512)(model)
    assert found == pytest.approx(bits / size, rel=1e-4)
    counted = made["shards"].manifest.counts["domains"]["ko"]
    assert counted["val"]["bytes"] == size


def test_the_tasks_run(made: Any, tmp_path: Path) -> None:
    model, tok = loaded(made)
    subject = Subject(model, tok, {k: made[k] for k in ("shards", "corpus")}, Seed(0))
    scores = {s.name: s for s in BitsPerByte(seq_len=64).run(subject)}
    assert set(scores) == {"bpb/ko", "bpb/chat"} and scores["bpb/ko"].baseline is not None
    said = yaongi.load(made["base"].path).chat([{"role": "user", "content": "?"}], max_tokens=4)
    rows = [{"messages": [{"role": "user", "content": "?"}], "answer": said.strip() or "x"}]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (score,) = ExactMatch(path=str(path), max_tokens=4).run(subject)
    assert score.samples[0]["said"].strip() == said.strip()


def test_shards_hold_what_generation_reads(made: Any) -> None:
    _, tok = loaded(made)
    for domain, opens in (
        ("ko", tok.text_ids("")),
        ("chat", tok.chat_ids(foreign_road.CHATS[0][:1])[:1]),
    ):
        shard = Shards(made["shards"]).open(domain, "val")
        for begin in shard.offsets[:-1]:
            assert shard.tokens[begin : begin + 1].tolist() == opens


def test_from_the_command_line(made: Any, tmp_path: Path, capsys: Any) -> None:
    """A corpus is enough: its held-out text is put into the tokens of the model."""
    report = tmp_path / "report"
    command = ["eval", str(made["base"].path), "--input", str(made["corpus"].path), "--json"]
    assert run([*command, "--out", str(report)]) == 0, capsys.readouterr().err
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    model, _ = loaded(made)
    assert metrics["bpb/ko"] == pytest.approx(bpb_probe(made["shards"], "ko")(model), rel=1e-4)
    assert not list((tmp_path / "report-shards").glob("train/*"))
    assert open_artifact(report, "report").manifest.parents


def test_a_tokenizer_without_bytes_is_refused_with_the_reason(tmp_path: Path) -> None:
    def lowercase(folder: Path, _: str | None) -> None:
        foreign_tokenizers.make_lowercase(folder)

    base = foreign_road.imported(tmp_path, lowercase, None)
    with pytest.raises(TokenizerError, match="no shards made: it changes texts"):
        build_shards(ShardsConfig(), foreign_road.corpus(tmp_path), base, tmp_path / "shards")
