"""Tokenizers to extend, of every kind that can be, and texts to learn from."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import foreign_tokenizers
import zstandard

from yaongi.text.bytelevel import IGNORE_MERGES, REGEXES
from yaongi.text.extension import Extension
from yaongi.text.tokenizer import Tokenizer

TEXTS = [
    "강아지는 마당에서 멍멍 짖었고 고양이는 지붕에서 야옹 하고 울었습니다.",
    "오늘은 날씨가 좋아서 강아지와 함께 공원에 갔습니다.",
    "공원에서 만난 고양이는 강아지를 보고 지붕으로 올라갔습니다.",
    "2024년에는 GPU를 사서 강아지 사진 1,234장을 배웠습니다 ㅋㅋㅋ",
    "고양이와 강아지는 날씨가 좋은 날에 공원에서 사진을 찍었습니다. 漢字",
] * 4
PLAIN = [
    "The cat said hello to the dog. It's 3:45 pm; they'll come, WE'RE told — really…",
    "def add(a, b):\n\treturn a + b  # sum\n\n\nfor i in range(10):\n    print(add(i, i))\n",
    '{"name": "cat", "legs": 4, "url": "https://example.org/?q=1&r=%20"}',
]
KINDS = ("ours", "gpt-2", "qwen2", "llama-bpe")


def make(folder: Path, kind: str, *, added: str = "<tool>", special: bool = False) -> None:
    """A tokenizer that knows little Korean; the foreign ones have an added token at the end."""
    if kind == "ours":
        Tokenizer.train([*foreign_tokenizers.TEXTS, *PLAIN], 400, allow_smaller=True).save(folder)
        return
    cuts: Sequence[str] = () if kind == "gpt-2" else REGEXES[kind]
    foreign_tokenizers.make(folder, foreign_tokenizers.LLAMA_LIKE, regexes=cuts)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    path = folder / "tokenizer.json"
    spec = json.loads(path.read_bytes())
    spec["model"]["ignore_merges"] = kind in IGNORE_MERGES
    if kind == "gpt-2":  # as older files have them
        spec["model"]["merges"] = [" ".join(merge) for merge in spec["model"]["merges"]]
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    last = 1 + max(spec["model"]["vocab"].values())
    spec["added_tokens"].append({"id": last, "content": added, "special": special, **shape})
    path.write_text(json.dumps(spec), "utf-8")


def merged(parts: Sequence[str], rank: Mapping[tuple[str, ...], int]) -> list[str]:
    """Byte-pair encoding of one word, written as its definition."""
    found = list(parts)
    while True:
        pairs = enumerate(itertools.pairwise(found))
        places = [(rank[pair], i) for i, pair in pairs if pair in rank]
        if not places:
            return found
        _, i = min(places)
        found[i : i + 2] = ["".join(found[i : i + 2])]


def real(root: Path, name: str, size: int) -> list[str]:
    """The first ``size`` characters of a file of real text."""
    found: list[str] = []
    with (root / f"train/{name}.jsonl.zst").open("rb") as raw:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), "utf-8"):
            found.append(json.loads(line)["text"][:size])
            size -= len(found[-1])
            if size <= 0:
                break
    return found


def expanded(ids: Sequence[int], extension: Extension) -> list[int]:
    """``ids`` with each new one written as its old pieces."""
    found: list[int] = []
    for i in ids:
        new = i - extension.old_size
        found += [i] if new < 0 else extension.pieces[new]
    return found
