"""Sequence-level distillation, the data side: a teacher answers prompts, a student learns them.

Kim & Rush 2016 (arXiv:1606.07947, section 3.2): where a teacher's logits are out of reach, what it
says stands for all that it might say. The prompts are a corpus, the answers an artifact that
``kind: answers`` reads as a source of conversations, licence and terms of the teacher included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from yaongi.core.artifact import Artifact, draft, existing
from yaongi.core.config import Config
from yaongi.core.errors import DataError, EndpointError, YaongiError
from yaongi.core.files import sha256_json, write_bytes
from yaongi.core.units import Count
from yaongi.data.answers.endpoint import Client, Endpoint, Reply
from yaongi.data.answers.journal import Journal
from yaongi.data.corpus import SPLITS, Progress, domains_of, read_corpus
from yaongi.data.lines import json_line
from yaongi.data.recognise import CHAT, TEXT

KIND = "answers"
ANSWERS, LEFT_OUT = "answers.jsonl", "left_out.jsonl"
JOURNAL = "journal.jsonl"
"""Every reply as it came. It stays: a stage that fails at its very end must not ask again."""
_TO_JUDGE = 20
"""If so many first requests are refused, it is not the prompts' fault."""


class AskConfig(Config):
    """Whom to ask, and how much.

    Attributes:
        system: a system message for conversations without one; the student learns it as well.
        most: prompts at most, the first ones of the corpus.
    """

    teacher: Endpoint
    system: str | None = None
    most: Count | None = None


def ask(
    cfg: AskConfig, prompts: Artifact, out: str | Path, *, on_progress: Progress | None = None
) -> Artifact:
    """Ask the teacher every prompt once; continue where an interrupted run stopped.

    A text of the corpus is a user's message; of a conversation its last answer is asked anew.
    What was answered is on disk before the next prompt is asked, and is never asked again, also
    after other settings were tried; only a request under way when the process is killed may be.

    Args:
        prompts: a corpus; its split of train and val is kept.
    Returns: an artifact of kind ``answers`` with the teacher's licence beside the prompts'. Its
        counts say how many answers are whole, and why others were left out.
    Raises:
        EndpointError: the endpoint is unreachable, refuses the key, or gives only errors; what
            was answered is kept.
        ConfigError: no key. DataError: no prompt, or no answer of use.
        CapabilityError: the package ``openai`` is missing.
    """
    made: dict[str, Any] = {"config": cfg.as_json(), "parents": [prompts]}
    if found := existing(out, KIND, **made):
        return found
    asked = list(islice(_prompts(cfg, prompts), cfg.most))
    if not asked:
        raise DataError("{path} has no prompt that can be asked.", path=prompts.path)
    with draft(out, KIND, resumable=True, **made) as work:
        with Journal(work.path / JOURNAL) as journal:
            _ask_all(cfg.teacher, asked, journal, on_progress or (lambda share, note: None))
            counts = _write(asked, journal.rows, work.path)
        if not counts["answered"]:
            raise DataError(
                "{url} answered none of {n} prompts: {reasons}.",
                url=cfg.teacher.url,
                n=len(asked),
                reasons=", ".join(f"{n} {why}" for why, n in counts["left_out"].items()),
            )
        licences = {*prompts.manifest.licences, cfg.teacher.licence}
        return work.finish(counts=counts, licences=sorted(licences))


class _Prompt(dict[str, Any]):
    """``key``, ``split``, ``domain`` and ``messages`` of a question, and its ``request``."""


def _prompts(cfg: AskConfig, corpus: Artifact) -> Iterator[_Prompt]:
    """Every question once, in the corpus's order."""
    seen: set[str] = set()
    for split in SPLITS:
        for domain in domains_of(corpus, split):
            for document in read_corpus(corpus, split, domain):
                messages = _question(document.text, document.metadata, cfg.system)
                if messages is None:
                    continue
                request = cfg.teacher.request(messages)
                key = sha256_json({"url": cfg.teacher.url, **request})
                if key not in seen:
                    seen.add(key)
                    yield _Prompt(
                        key=key, split=split, domain=domain, messages=messages, request=request
                    )


def _question(
    text: str, metadata: Mapping[str, Any], system: str | None
) -> list[dict[str, str]] | None:
    """The messages to answer; None where tools answer in between."""
    if metadata["form"] == TEXT:
        turns: Sequence[Mapping[str, Any]] = [{"role": "user", "content": text}]
    elif metadata["form"] == CHAT:
        turns = metadata["messages"]
        last = max(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
        turns = turns[:last]
    else:
        turns = metadata["prompt"]
    if any(turn["role"] == "tool" for turn in turns):
        return None
    plain = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    if system and plain[0]["role"] != "system":
        plain.insert(0, {"role": "system", "content": system})
    return plain


def _ask_all(
    teacher: Endpoint, prompts: Sequence[_Prompt], journal: Journal, progress: Progress
) -> None:
    """Ask what is not in the journal yet, some at a time."""
    left = [prompt for prompt in prompts if prompt["key"] not in journal.rows]
    if not left:
        return
    client, done = Client(teacher), len(prompts) - len(left)
    first: list[Reply] = []
    try:
        for prompt, reply in _replies(client, left, teacher.parallel):
            journal.add({"key": prompt["key"], **vars(reply)})
            first = [*first, reply] if len(first) < _TO_JUDGE else first
            if len(first) == _TO_JUDGE and all(r.finish == "refused" for r in first):
                raise EndpointError(
                    "{url} refused the first {n} prompts: {reason}",
                    url=teacher.url,
                    n=_TO_JUDGE,
                    reason=reply.reason,
                )
            done += 1
            progress(done / len(prompts), f"{done}/{len(prompts)}")
    finally:
        client.close()


def _replies(
    client: Client, prompts: Iterable[_Prompt], parallel: int
) -> Iterator[tuple[_Prompt, Reply]]:
    """Answers as they come. After a failure, those under way still arrive before it is raised."""
    waiting: dict[Future[Reply], _Prompt] = {}
    source = iter(prompts)
    failure: BaseException | None = None
    with ThreadPoolExecutor(parallel, thread_name_prefix="ask") as pool:
        while True:
            more = [] if failure else islice(source, parallel - len(waiting))
            waiting |= {pool.submit(client.ask, prompt["request"]): prompt for prompt in more}
            if not waiting:
                break
            try:
                done = wait(waiting, return_when=FIRST_COMPLETED).done
            except KeyboardInterrupt as error:
                if failure is not None:  # asked twice: what is under way is given up
                    raise
                failure, done = error, set[Future[Reply]]()
            for future in done:
                prompt = waiting.pop(future)
                try:
                    reply = future.result()
                except YaongiError as error:
                    failure = failure or error
                else:
                    yield prompt, reply
    if failure is not None:
        raise failure


def _write(
    prompts: Sequence[_Prompt], replies: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, Any]:
    """The answers in the order of the prompts, and what was left out with its reason."""
    answers: list[bytes] = []
    left_out: list[bytes] = []
    why: Counter[str] = Counter()
    for prompt in prompts:
        reply = replies[prompt["key"]]
        about = {name: prompt[name] for name in ("key", "split", "domain", "messages")}
        fault = _fault(reply)
        if fault is None:
            said = {"role": "assistant", "content": reply["text"]}
            answers.append(json_line({**about, "messages": [*prompt["messages"], said]}))
        else:
            why[fault] += 1
            left_out.append(json_line({**about, "why": fault, "reason": reply["reason"]}))
    write_bytes(folder / ANSWERS, b"".join(answers))
    write_bytes(folder / LEFT_OUT, b"".join(left_out))
    return {"asked": len(prompts), "answered": len(answers), "left_out": dict(why)}


def _fault(reply: Mapping[str, Any]) -> str | None:
    """Why an answer is not to be learnt; half an answer would teach not to end."""
    if reply["finish"] == "refused":
        return "refused"
    if reply["finish"] == "length":
        return "cut at max_tokens"
    return None if reply["text"].strip() else "empty"
