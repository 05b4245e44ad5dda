"""llama.cpp as a runner: what it says to our requests is what our engine says."""

from __future__ import annotations

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import llamacpp
import pytest
import tiny
from odd_models import odd, saved
from text_sample import CHATS, HARD_TEXTS

import yaongi
from yaongi.cli.main import run
from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError, DataError, InputError
from yaongi.infer.engine import Engine
from yaongi.infer.request import Event, Request
from yaongi.infer.rules import Finish, Generation, unspoken
from yaongi.infer.runner import NO_TOKEN, Runner
from yaongi.interop.gguf import describe, export_gguf, write
from yaongi.interop.gguf.header import read_header
from yaongi.interop.gguf.tokenizer import tokenizer_of
from yaongi.interop.gguf.vocabulary import vocabulary
from yaongi.interop.llamacpp import LlamaCpp
from yaongi.model.io import open_tensors

pytest.importorskip("xllamacpp", reason=llamacpp.REASON)

TOK = tiny.tokenizer()
PROMPT = TOK.text_ids("고양이가 야옹 하고")
LENGTH = 96


@pytest.fixture(scope="module")
def model():
    return odd("llama", 3)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    path = folder / "model.gguf"
    export_gguf(saved(model, folder / "m"), path, quant="f32", context_len=LENGTH)
    return path


@pytest.fixture(scope="module")
def theirs(file: Path) -> LlamaCpp:
    return LlamaCpp(file, max_rows=2, threads=1)


@pytest.fixture(scope="module")
def ours(model) -> Engine:
    return Engine(model, TOK, context_len=LENGTH)


def answer(runner: Runner, ids: list[int], seed: int = 0, **rules) -> list[Event]:
    return list(runner.stream(Request(ids, Generation(**rules), seed)))


def text(events: list[Event]) -> str:
    return "".join(e.text for e in events)


@pytest.mark.parametrize("said", ["고양이가", "12 더하기 34는", "def f(x):"])
def test_greedy_is_what_our_engine_says(ours: Engine, theirs: LlamaCpp, said: str) -> None:
    ids = TOK.text_ids(said)
    own, found = (answer(r, ids, max_tokens=14) for r in (ours, theirs))  # its cache is float16
    assert text(found).rstrip("\ufffd") == text(own).rstrip("\ufffd")
    assert found[-1].finish == own[-1].finish
    assert [e.finish for e in found[:-1]] == [None] * (len(found) - 1)
    told = {e.id: e.logprob for e in own}
    for event in found:
        if event.id != NO_TOKEN:  # of the tokens inside a character only the last is told
            assert event.id in told


def test_the_repetition_penalty_is_ours(ours: Engine, theirs: LlamaCpp) -> None:
    plain = text(answer(ours, PROMPT, max_tokens=20))
    own, found = (
        text(answer(r, PROMPT, max_tokens=20, repetition_penalty=1.8)) for r in (ours, theirs)
    )
    assert found.rstrip("\ufffd") == own.rstrip("\ufffd")
    assert own != plain


def test_a_seed_decides_the_answer(theirs: LlamaCpp) -> None:
    rules = {"temperature": 1.5, "max_tokens": 30}
    first, again = (text(answer(theirs, PROMPT, 5, **rules)) for _ in range(2))
    others = {text(answer(theirs, PROMPT, seed, **rules)) for seed in (-1, 6, 2**40)}
    assert first == again
    assert len(others | {first}) == 4


def test_it_never_says_what_our_engine_never_says(model, theirs: LlamaCpp) -> None:
    never = set(unspoken(model, TOK).nonzero()[:, 0].tolist())
    assert never
    ids = [e.id for s in range(6) for e in answer(theirs, PROMPT, s, temperature=50, max_tokens=60)]
    assert len(set(ids)) > 100
    assert not never & set(ids)


def test_stop_strings_end_an_answer_and_are_never_shown(ours: Engine, theirs: LlamaCpp) -> None:
    whole = text(answer(theirs, PROMPT, max_tokens=40)).rstrip("\ufffd")
    for start in range(1, len(whole) - 4, 5):
        stop = whole[start : start + 3]
        own, found = (answer(r, PROMPT, max_tokens=40, stop=(stop,)) for r in (ours, theirs))
        assert text(found) == text(own) == whole[: whole.index(stop)]
        assert found[-1].finish is Finish.STOP


def test_the_context_ends_an_answer_and_refuses_a_prompt(theirs: LlamaCpp) -> None:
    long = [*PROMPT, *TOK.encode("나무 " * 40)][: LENGTH - 4]
    found = answer(theirs, long, max_tokens=40)
    assert len(found) <= 4 and found[-1].finish in (Finish.CONTEXT, Finish.STOP)
    with pytest.raises(DataError, match=f"{LENGTH} tokens.*{LENGTH}"):
        theirs.stream(Request([1] * LENGTH, Generation()))
    with pytest.raises(DataError, match="empty"):
        theirs.submit(Request([], Generation()))


def test_what_it_cannot_do_is_refused_and_not_left_out(theirs: LlamaCpp) -> None:
    @dataclass(frozen=True)
    class Wider(Request):
        mask: object = None

    with pytest.raises(CapabilityError, match="'mask'"):
        theirs.submit(Wider(PROMPT, Generation(), mask=print))
    assert answer(theirs, PROMPT, max_tokens=2) and not theirs.busy


def test_many_requests_take_turns_and_each_gets_its_own(theirs: LlamaCpp) -> None:
    prompts = [TOK.text_ids(t) for t in ("고양이가", "강아지는", "12 더하기", "The cat")]
    alone = [text(answer(theirs, p, max_tokens=12)) for p in prompts]
    handles = [theirs.submit(Request(p, Generation(max_tokens=12))) for p in prompts]
    assert (theirs.running, theirs.waiting) == (2, 2)
    found = dict.fromkeys(handles, "")
    while theirs.busy:
        for event in theirs.step():
            found[event.handle] += event.text
    assert list(found.values()) == alone
    assert theirs.step() == []


def test_who_leaves_frees_the_row(theirs: LlamaCpp) -> None:
    whole = text(answer(theirs, PROMPT, max_tokens=8))
    for _ in range(5):
        stream = theirs.stream(Request(PROMPT, Generation(max_tokens=80)))
        next(stream)
        stream.close()
        assert not theirs.busy
    kept = theirs.submit(Request(PROMPT, Generation(max_tokens=8)))
    gone = [theirs.submit(Request(PROMPT, Generation(max_tokens=80))) for _ in range(4)]
    for handle in [*gone, gone[0], 10**6]:
        theirs.cancel(handle)
    said = ""
    while theirs.busy:
        for event in theirs.step():
            assert event.handle == kept
            said += event.text
    assert said == whole


def test_an_error_of_llama_cpp_is_told(theirs: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    from yaongi.core.errors import EndpointError

    body = theirs._body
    whole = text(answer(theirs, PROMPT, max_tokens=8))
    good = theirs.submit(Request(PROMPT, Generation(max_tokens=8)))
    wrong = {"prompt": [1], "top_k": "many"}
    monkeypatch.setattr(theirs, "_body", lambda j: body(j) if j.handle == good else wrong)
    bad, said, failed = theirs.submit(Request(PROMPT, Generation())), "", []
    while theirs.busy:
        try:
            said += text(theirs.step())
        except EndpointError as error:
            failed.append(error)
    (error,) = failed
    assert "top_k" in str(error) and error.fields["handle"] == bad
    assert said == whole  # the other one goes on


def test_ctrl_c_stays_with_python_and_its_port_with_us(file: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    runner = LlamaCpp(file, threads=1)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        time.sleep(1)
    for route in ("/completion", "/props", "/slots"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(runner._server.listening_address + route, data=b"{}", timeout=9)
        assert caught.value.code in (401, 404)


# --- files ---------------------------------------------------------------------------------


def test_our_tokenizer_comes_back_out_of_the_file(file: Path) -> None:
    found = tokenizer_of(read_header(file))
    assert type(found) is type(TOK) and found.vocab_size == TOK.vocab_size
    for said in HARD_TEXTS:
        assert found.encode(said) == TOK.encode(said)
    for chat in CHATS:
        assert found.chat_ids(chat) == TOK.chat_ids(chat)


def changed(file: Path, out: Path, old: bytes, new: bytes) -> Path:
    data = file.read_bytes()
    assert old in data and len(old) == len(new)
    out.write_bytes(data.replace(old, new))
    return out


def test_a_file_that_is_none_says_so(file: Path, tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"GGML" + bytes(100))
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "old.gguf").write_bytes(b"GGUF\x01\0\0\0" + bytes(100))
    hang = b"GGUF\x03\0\0\0" + b"\xff" * 16 + bytes(19)
    (tmp_path / "hang.gguf").write_bytes(hang)
    for name, reason in {"no": "begin with GGUF", "empty": "empty", "old": "version is 1",
                         "hang": "length", "missing": "No such file"}.items():  # fmt: skip
        with pytest.raises(ArtifactError, match=reason):
            LlamaCpp(tmp_path / f"{name}.gguf")


def test_a_file_that_was_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    for share in range(1, 20):
        path = tmp_path / "cut.gguf"
        path.write_bytes(data[: len(data) * share // 20])
        with pytest.raises(ArtifactError):
            LlamaCpp(path)


def test_what_llama_cpp_does_not_know_is_refused(file: Path, tmp_path: Path) -> None:
    other = changed(file, tmp_path / "a.gguf", b"llama.", b"llamx.")
    name = b"\x05\0\0\0\0\0\0\0llam"
    other = changed(other, tmp_path / "a.gguf", name + b"a", name + b"x")
    with pytest.raises(ArtifactError, match="'llamx'"):
        LlamaCpp(other)
    from yaongi.core.errors import TokenizerError

    sentencepiece = changed(file, tmp_path / "b.gguf", b"\x04\0\0\0\0\0\0\0gpt2",
                            b"\x04\0\0\0\0\0\0\0bert")  # fmt: skip
    with pytest.raises(TokenizerError, match=r"'bert'.*llama-server"):
        LlamaCpp(sentencepiece)


@pytest.mark.parametrize("name", ["llama.block_count", "llama.context_length"])
@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_sizes_that_would_end_the_process_are_refused(
    file: Path, tmp_path: Path, name: str, size: int
) -> None:
    data, key = file.read_bytes(), name.encode()
    at = data.index(key) + len(key) + 4  # behind the type
    path = tmp_path / "a.gguf"
    path.write_bytes(data[:at] + size.to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(ArtifactError, match=f"{name} is {size}; llama.cpp takes 1 to"):
        LlamaCpp(path)


@pytest.mark.parametrize("more", [-40, 40])
def test_a_tokenizer_of_another_size_is_refused(model, tmp_path: Path, more: int) -> None:
    folder = saved(model, tmp_path / "m")
    known = vocabulary(folder, model.cfg.vocab_size)
    tokens = [*known.tokens, *(f"<{i}>" for i in range(40))][: len(known.tokens) + more]
    types = [*known.types, *known.types[-40:]][: len(tokens)]
    other = replace(known, tokens=tokens, types=types)
    content = describe(model.cfg, other, quant="f32", name="x", context_len=LENGTH)
    with open_tensors(folder) as read:
        write(tmp_path / "a.gguf", content, read)
    with pytest.raises(InputError, match=r"cannot (load|be read)"):
        LlamaCpp(tmp_path / "a.gguf")


def test_a_context_nobody_can_count_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="--context-len"):
        LlamaCpp(file, context_len=2**31)


@pytest.fixture
def loaded(file: Path) -> Iterator[yaongi.Model]:
    yield yaongi.load(file)


def test_a_gguf_is_a_model_like_others(
    loaded: yaongi.Model, file: Path, model, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = [{"role": "user", "content": "안녕? <|im_end|>"}]
    assert loaded.chat_ids(chat).count(TOK.im_end_id) == 1
    own = Engine(model, TOK, context_len=LENGTH)
    expected = text(answer(own, loaded.chat_ids(chat), max_tokens=12)).rstrip("\ufffd")
    assert loaded.chat(chat, max_tokens=12).rstrip("\ufffd") == expected
    with pytest.raises(CapabilityError, match="network"):
        loaded.logits([[0]])
    with pytest.raises(CapabilityError, match="adapter"):
        loaded.generate("가", adapter="x")
    with pytest.raises(ConfigError):
        loaded.generate("가", temprature=1)
    assert loaded.engine.context_len == LENGTH
    assert "model.gguf" in repr(loaded) and str(LENGTH) in repr(loaded)


def test_llama_cpps_own_chat_route_says_the_same(loaded: yaongi.Model, file: Path) -> None:
    chat = [{"role": "system", "content": "너는 고양이다."}, {"role": "user", "content": "안녕?"}]
    with llamacpp.opened(file) as llama:
        never = [[i, False] for i in loaded.engine._never]  # a trained model says none by itself
        found = llama.post("/v1/chat/completions", messages=chat, temperature=0, max_tokens=12,
                           logit_bias=never)  # fmt: skip
    said = found["choices"][0]["message"]["content"]
    own = loaded.chat(chat, max_tokens=12)
    assert said.strip().rstrip("\ufffd") == own.strip().rstrip("\ufffd")
    assert said.strip()


def test_which_engine_runs_what(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = file.parent / "m"
    assert run(["generate", str(folder), "--engine", "llamacpp", "--prompt", "가"]) == 2
    assert f"export {folder} --to gguf" in capsys.readouterr().err
    assert run(["generate", str(file), "--engine", "yaongi", "--prompt", "가"]) == 2
    with pytest.raises(ConfigError, match="'vllm'"):
        yaongi.load(file, engine="vllm")
    with pytest.raises(CapabilityError, match="merge"):
        yaongi.load(file, adapter="x")
    assert run(["generate", str(file), "--prompt", "가", "--max-tokens", "3"]) == 0
    assert yaongi.load(file, context_len=32).context_len == 32
