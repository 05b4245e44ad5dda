"""Asking a teacher: against a server on this machine that fails in every way there is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from pathlib import Path

import loopback
import pytest
from loopback import completion, error

from yaongi.core.artifact import partial_path
from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, DataError, EndpointError
from yaongi.core.seeds import Seed
from yaongi.data.answers import AskConfig, ask
from yaongi.data.corpus import CorpusConfig, build_corpus, read_corpus

pytest.importorskip("openai")
ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("yaongi.data.answers.endpoint._WAIT_S", (0.01, 0.02))


def prompts(folder, n=12):
    """A corpus of n questions: texts, of which a quarter is held out."""
    folder.mkdir(parents=True)
    rows = "".join(json.dumps({"text": f"{i} 더하기 {i}는?"}) + "\n" for i in range(n))
    (folder / "ask.jsonl").write_text(rows, "utf-8")
    cfg = {"root": str(folder), "sources": [{"path": "ask.jsonl", "licence": "CC0-1.0"}]}
    return build_corpus(
        parse(CorpusConfig, {**cfg, "val_fraction": 0.25}), folder / "prompts", Seed(0)
    )


def config(url, **changes):
    own = {k: changes.pop(k) for k in ("system", "most") if k in changes}
    teacher = {"url": url, "model": "big", "licence": "Apache-2.0", "terms": "https://x.org/terms"}
    return parse(AskConfig, {"teacher": {**teacher, "retries": 2, **changes}, **own})


def knows(question, times):
    return completion(f"{2 * int(question.split()[0])}입니다.")


def rows(artifact, name="answers.jsonl"):
    return [json.loads(line) for line in (artifact.path / name).read_text("utf-8").splitlines()]


def test_answers_become_a_corpus_with_the_teachers_terms(tmp_path):
    asked = prompts(tmp_path / "data")
    with loopback.serve(knows) as teacher:
        done = ask(config(teacher.url, system="짧게."), asked, tmp_path / "answers")
        again = ask(config(teacher.url, system="짧게."), asked, tmp_path / "answers")
    assert again.manifest.created == done.manifest.created
    assert sorted(teacher.questions()) == sorted(set(teacher.questions()))
    assert teacher.bodies[0]["temperature"] == 0 and teacher.bodies[0]["model"] == "big"
    assert done.manifest.counts == {"asked": 12, "answered": 12, "left_out": {}}
    assert done.manifest.licences == ["Apache-2.0", "CC0-1.0"]
    assert done.manifest.config["teacher"]["terms"] == "https://x.org/terms"
    first = rows(done)[0]["messages"]
    assert [m["role"] for m in first] == ["system", "user", "assistant"]
    cfg = {"sources": [{"kind": "answers", "path": str(done.path), "licence": "Apache-2.0"}]}
    corpus = build_corpus(parse(CorpusConfig, cfg), tmp_path / "corpus", Seed(0))
    assert corpus.manifest.licences == ["Apache-2.0", "CC0-1.0"]
    assert corpus.manifest.parents[0].hash == done.hash
    for split in ("train", "val"):  # nothing that was held out is learnt
        theirs = {d.text for d in read_corpus(asked, split)}
        ours = {d.metadata["messages"][1]["content"] for d in read_corpus(corpus, split)}
        assert theirs == ours


def test_conversations_are_asked_their_last_turn_anew(tmp_path):
    (tmp_path / "data").mkdir()
    turns = [
        {"role": "user", "content": "1 더하기 1은?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3 더하기 3은?"},
        {"role": "assistant", "content": "틀린 답"},
    ]
    text = json.dumps({"messages": turns}, ensure_ascii=False) + "\n"
    (tmp_path / "data/chat.jsonl").write_text(text, "utf-8")
    cfg = {"root": str(tmp_path / "data"), "sources": ["chat.jsonl"]}
    corpus = build_corpus(parse(CorpusConfig, cfg), tmp_path / "prompts", Seed(0))
    with loopback.serve(knows) as teacher:
        done = ask(config(teacher.url), corpus, tmp_path / "answers")
    said = {"role": "assistant", "content": "6입니다."}
    assert [row["messages"] for row in rows(done)] == [[*turns[:3], said]]


@pytest.mark.parametrize(
    "first",
    [
        error(429, "slow down", Retry_After="0.01"),
        error(500, "oh no"),
        error(503, "starting"),
        (200, b'{"choices": [{"mess'),
        (200, {"choices": []}),
        (200, ["no", "completion"]),
        (200, b"<html>a proxy's page</html>"),
    ],
    ids=["429", "500", "503", "cut", "no-choice", "list", "html"],
)
def test_a_failure_that_passes_is_tried_again(tmp_path, first):
    asked = prompts(tmp_path / "data", 4)
    with loopback.serve(lambda q, times: first if not times else knows(q, times)) as teacher:
        done = ask(config(teacher.url), asked, tmp_path / "answers")
    assert done.manifest.counts["answered"] == 4
    assert len(teacher.asked) == 8


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(429, "no quota left"), r"answers 429 for the model 'big': no quota left"),
        (error(500, "oh no"), r"answers 500 .* oh no"),
        (error(401, "wrong key"), r"refuses the key in OPENAI_API_KEY: wrong key"),
        (error(404, "no such model"), r"answers 404 for the model 'big': no such model"),
        (error(302, "", Location="http://example.org/"), r"answers 302"),
        ((200, b"<html>"), r"3 answers in a row that cannot be read"),
    ],
    ids=["429", "500", "401", "404", "302", "html"],
)
def test_a_failure_that_stays_stops_and_keeps_the_rest(tmp_path, answer, message):
    asked = prompts(tmp_path / "data", 8)
    broken = "5 더하기 5는?"
    with loopback.serve(lambda q, t: answer if q == broken else knows(q, t)) as teacher:
        with pytest.raises(EndpointError, match=message):
            ask(config(teacher.url, parallel=2), asked, tmp_path / "answers")
        kept = len((partial_path(tmp_path / "answers") / "journal.jsonl").read_text().splitlines())
        before = set(teacher.questions()) - {broken}
        assert kept == len(before)  # what was under way has been kept as well
        teacher.say = knows
        teacher.asked.clear()
        done = ask(config(teacher.url), asked, tmp_path / "answers")
    assert done.manifest.counts["answered"] == 8
    assert not before & set(teacher.questions())


def test_an_unreachable_teacher_is_named(tmp_path):
    asked = prompts(tmp_path / "data", 2)
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        ask(config("http://127.0.0.1:9/v1", retries=0), asked, tmp_path / "answers")


def test_a_teacher_that_never_answers_is_given_up(tmp_path):
    asked = prompts(tmp_path / "data", 2)

    def sleeps(question, times):
        time.sleep(1)
        return knows(question, times)

    with loopback.serve(sleeps) as teacher, pytest.raises(EndpointError, match=r"no answer in 0.2"):
        ask(config(teacher.url, timeout_s=0.2, retries=1), asked, tmp_path / "answers")
    assert max(teacher.questions().count(q) for q in teacher.questions()) == 2


def test_what_is_not_to_be_learnt_is_left_out_and_counted(tmp_path):
    asked = prompts(tmp_path / "data", 6)
    special = {
        "0": error(400, "too long"),
        "1": completion("3입니", "length"),
        "2": completion(""),
        "3": completion("", "content_filter"),
    }
    with loopback.serve(lambda q, t: special.get(q.split()[0]) or knows(q, t)) as teacher:
        done = ask(config(teacher.url), asked, tmp_path / "answers")
    left_out = {"refused": 2, "cut at max_tokens": 1, "empty": 1}
    assert done.manifest.counts == {"asked": 6, "answered": 2, "left_out": left_out}
    reasons = {row["messages"][-1]["content"][0]: row for row in rows(done, "left_out.jsonl")}
    assert reasons["0"]["reason"] == "too long" and set(reasons) == {"0", "1", "2", "3"}


def test_a_teacher_that_refuses_everything_is_not_asked_on(tmp_path):
    asked = prompts(tmp_path / "data", 40)
    with (
        loopback.serve(lambda q, t: error(400, "max_tokens is not supported")) as teacher,
        pytest.raises(EndpointError, match=r"refused the first 20 prompts: max_tokens is not"),
    ):
        ask(config(teacher.url), asked, tmp_path / "answers")
    assert len(teacher.asked) < 30
    with loopback.serve(lambda q, t: error(400, "no")) as teacher:
        few = prompts(tmp_path / "few", 3)
        with pytest.raises(DataError, match=r"answered none of 3 prompts: 3 refused"):
            ask(config(teacher.url), few, tmp_path / "few-answers")


def test_the_rate_is_kept(tmp_path):
    asked = prompts(tmp_path / "data", 5)
    with loopback.serve(knows) as teacher:
        ask(config(teacher.url, requests_per_minute=600), asked, tmp_path / "answers")
    times = sorted(at for at, _, _ in teacher.asked)
    assert times[-1] - times[0] > 4 * 0.1 * 0.8


def test_the_key_comes_from_the_environment_and_stays_out_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    asked = prompts(tmp_path / "data", 2)
    with loopback.serve(knows) as teacher:
        ask(config(teacher.url, key="MY_KEY"), asked, tmp_path / "answers")
    assert teacher.asked[0][2]["authorization"] == "Bearer sk-very-secret"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"very-secret" not in path.read_bytes()
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is not set"):
        ask(config("https://x.invalid/v1"), asked, tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://example.org/v1"}, "unencrypted"),
        ({"url": "ftp://example.org"}, "is not an address"),
        ({"url": "https://me:sk-1@example.org/v1"}, "must not carry a key"),
        ({"url": "https://example.org/v1?key=sk-1"}, "must not carry a key"),
        ({"key": "sk-1"}, "name of an environment variable"),
        ({"licence": "not stated"}, "state the licence"),
        ({"licence": " "}, "state the licence"),
    ],
)
def test_settings_that_would_be_unsafe_are_refused_without_showing_secrets(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config(**{"url": "https://example.org/v1", **changes})
    assert "sk-1" not in str(caught.value)


def test_after_ctrl_c_what_was_under_way_is_kept(tmp_path, monkeypatch):
    asked = prompts(tmp_path / "data", 8)
    waits = []

    def interrupted(*arguments, **options):
        waits.append(1)
        if len(waits) == 2:
            raise KeyboardInterrupt
        return wait(*arguments, **options)

    monkeypatch.setattr("yaongi.data.answers.wait", interrupted)
    with loopback.serve(knows) as teacher:
        with pytest.raises(KeyboardInterrupt):
            ask(config(teacher.url, parallel=2), asked, tmp_path / "answers")
        before = len(teacher.asked)
        assert before < 8
        done = ask(config(teacher.url), asked, tmp_path / "answers")
    assert len(teacher.asked) == 8 and done.manifest.counts["answered"] == 8


JOB = """
import json, sys
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.data.answers import AskConfig, ask
ask(parse(AskConfig, json.loads(sys.argv[1])), open_artifact(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.serial
def test_after_kill_9_nothing_answered_is_asked_again(tmp_path):
    asked = prompts(tmp_path / "data", 30)

    def slow(question, times):
        time.sleep(0.05)
        return knows(question, times)

    with loopback.serve(slow) as teacher:
        cfg = {"teacher": {"url": teacher.url, "model": "big", "licence": "MIT", "parallel": 2}}
        arguments = [json.dumps(cfg), str(asked.path), str(tmp_path / "answers")]
        command = [sys.executable, "-c", JOB, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        job = subprocess.Popen(command, env=environment)
        journal = partial_path(tmp_path / "answers") / "journal.jsonl"
        limit = time.monotonic() + 60
        while len(teacher.asked) < 10 and time.monotonic() < limit:
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait()
        kept = journal.read_bytes()
        journal.write_bytes(kept + b'{"key": "torn')
        answered = kept.count(b"\n")
        assert 0 < answered < 30
        teacher.asked.clear()
        done = ask(parse(AskConfig, cfg), asked, tmp_path / "answers")
    assert len(teacher.asked) == 30 - answered
    assert done.manifest.counts["answered"] == 30
    questions = [row["messages"][0]["content"] for row in rows(done)]
    assert sorted(questions) == sorted(f"{i} 더하기 {i}는?" for i in range(30))
