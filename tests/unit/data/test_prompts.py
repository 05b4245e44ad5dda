"""Conversations that ask the same: reported, and never on both sides of the split."""

import json

import numpy as np
import pytest
from byte_shards import corpus_of
from datatrove.data import Document

from yaongi.core.config import parse
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus
from yaongi.data.prompts import COMMON, LEAK, SAME
from yaongi.data.recognise import asked, recognise
from yaongi.data.sources import Source
from yaongi.data.wording import said


def talk(question, answer):
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]}  # fmt: skip


def split_of(corpus):
    """question -> the splits it stands in."""
    found = {}
    for split in ("train", "val"):
        for document in read_corpus(corpus, split):
            question = asked(document.metadata)
            found.setdefault(question, []).append(split)
    return found


def test_what_is_asked():
    messages = [
        {"role": "system", "content": "짧게."},
        *talk("안녕?", "네.")["messages"],
        *talk("서울은?", "맑아요.")["messages"],
    ]
    assert asked(recognise({"messages": messages})[1]) == "안녕?\n\n네.\n\n서울은?"
    assert asked(recognise({"messages": messages[1:]})[1]) == "안녕?\n\n네.\n\n서울은?"
    assert asked(recognise({"prompt": "?", "chosen": "a", "rejected": "b"})[1]) == "?"
    assert asked(recognise({"text": "본문"})[1]) is None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rows = [talk(f"질문 {i}?", f"{i}의 {n}번째 답") for i in range(60) for n in range(1 + i % 3)]
    pairs = [{"prompt": f"질문 {i}?", "chosen": "응", "rejected": f"{i} 아니"} for i in range(60)]
    folder = tmp_path_factory.mktemp("prompts")
    return corpus_of(folder, {"chat": rows, "pref": pairs}, val_fraction=0.2)


def test_no_prompt_is_on_both_sides(corpus):
    found = split_of(corpus)
    assert all(len(set(splits)) == 1 for splits in found.values())
    held = sum(splits[0] == "val" for splits in found.values())
    assert 4 <= held <= 24  # a fifth of the questions


def test_other_answers_to_a_prompt_are_counted_and_shown(corpus):
    split = corpus.manifest.counts["steps"][-1]
    assert split["changed"][SAME] == 20 * 1 + 20 * 2
    assert LEAK not in split["changed"]
    rows = [json.loads(line) for line in (corpus.path / "examples.jsonl").open(encoding="utf-8")]
    shown = [row for row in rows if row["reason"] == SAME]
    assert shown and all(row["like"].split("?")[0] == row["text"].split("?")[0] for row in shown)
    assert all(row["like"] != row["text"] for row in shown)


def test_a_template_does_not_tie_conversations_together(tmp_path):
    rows = [talk("이야기 하나.", f"옛날 {i}번째 이야기") for i in range(COMMON + 40)]
    rows += [talk(f"{i}?", "네") for i in range(100)]
    corpus = corpus_of(tmp_path, {"chat": rows}, val_fraction=0.2)
    assert set(split_of(corpus)["이야기 하나."]) == {"train", "val"}
    assert SAME not in corpus.manifest.counts["steps"][-1]["changed"]


class Decided(Source):
    """A source that holds out the second answer to every third question."""

    kind: str = "decided"

    def read(self, reading):
        for i in range(30):
            for n in range(2):
                text, made = recognise(talk(f"{i}?", f"{n}"))
                made["split"] = "val" if n and not i % 3 else "train"
                yield Document(text=text, id=f"{i}:{n}", metadata=made)


def test_a_leak_of_the_source_is_reported_and_left(tmp_path):
    source = {"kind": f"{__name__}:Decided", "domain": "chat"}
    corpus = build_corpus(parse(CorpusConfig, {"sources": [source]}), tmp_path / "c", Seed(0))
    counts = corpus.manifest.counts
    assert counts["steps"][-1]["changed"] == {SAME: 20, "held out": 10, LEAK: 10}
    assert any(said(w).startswith("10 conversations") for w in counts["warnings"])
    assert sum(len(set(s)) == 2 for s in split_of(corpus).values()) == 10


def test_exact_copies_go_and_evaluation_items_too(tmp_path):
    item = "하늘이 파란 까닭을 빛의 산란과 파장을 들어 초등학생에게 설명하듯이 자세히 말해 주세요."
    (tmp_path / "eval.jsonl").write_text(json.dumps({"prompt": item}), "utf-8")
    rows = [talk(f"{i}?", "네.") for i in range(30)]
    rows += [talk("1?", "네."), talk(item, "빛이 흩어지기 때문이에요.")]
    against = [str(tmp_path / "eval.jsonl")]
    filters = [{"kind": "decontaminate", "against": against}]
    corpus = corpus_of(tmp_path, {"chat": rows}, filters=filters)
    steps = {step["step"]: step for step in corpus.manifest.counts["steps"]}
    assert steps["decontaminate"]["dropped"] == {"evaluation item": 1}
    assert steps["duplicates"]["dropped"] == {"copy": 1}
    rows = [json.loads(line) for line in (corpus.path / "examples.jsonl").open(encoding="utf-8")]
    assert {row["reason"] for row in rows} >= {"evaluation item", "copy"}
    assert not any(np.char.find([d.text for d in read_corpus(corpus, "train")], "파란") >= 0)
