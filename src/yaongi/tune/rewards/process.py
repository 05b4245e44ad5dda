"""Asks rewards for numbers, each in a process that can be stopped: no reward hangs a run.

A reward that raises, gives something that is no finite number, takes too long or dies is an error
that names it and the row, or counts what its ``on_failure`` says. Nothing becomes 0 by itself.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yaongi.core.errors import RewardError
from yaongi.core.i18n import translate
from yaongi.tune.rewards import Reward, Sample

START_S = 60.0
"""Longest time for a process to import what it needs and to ``prepare``."""


class RewardProcess:
    """A reward in its own process, started when first asked and again after it had to be stopped.

    Attributes:
        failures: completions that counted ``on_failure`` so far.
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.failures = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> RewardProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def scores(self, samples: Sequence[Sample]) -> list[float]:
        """The unweighted reward of every sample.

        Raises:
            RewardError: one failed, and the recipe does not say what it counts then.
        """
        found: list[float] = []
        while len(found) < len(samples):
            for answer in self._ask(samples[len(found) :]):
                sample = samples[len(found)]
                score, problem = float(answer.get("score", math.nan)), answer.get("error")
                if problem is None and not math.isfinite(score):
                    problem = translate("it gave {score}, which is no finite number", score=score)
                found.append(score if problem is None else self._failed(sample, problem))
        return found

    def _failed(self, sample: Sample, reason: str) -> float:
        if self.reward.on_failure == "stop":
            self.stop()
            raise RewardError(
                "The reward '{reward}' failed on the row {row}: {reason}. Mend it, or say in the "
                "recipe what such a row counts: on_failure: NUMBER. The completion was {text!r}.",
                reward=self.reward.kind,
                row=sample.id,
                reason=reason,
                text=sample.text[:200],
            )
        self.failures += 1
        return self.reward.on_failure

    def _ask(self, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        """One answer for each sample, fewer after a failure that ended the process."""
        if self._process is None and (problem := self._start()) is not None:
            yield {"error": problem}
            return
        process = self._process
        assert process is not None and process.stdin is not None
        lines = json.dumps([_plain(sample) for sample in samples]) + "\n"
        with suppress(BrokenPipeError):  # it died; reading says how
            process.stdin.write(lines.encode())
            process.stdin.flush()
        for _sample in samples:
            line = self._read_line(self.reward.timeout_s)
            if line is None:
                late = translate("no answer within {seconds:g} s", seconds=self.reward.timeout_s)
                yield {"error": self._ended(late)}
                return
            yield json.loads(line)

    def _start(self) -> str | None:
        """Start the process and wait until it is ready; what went wrong, if something did."""
        self._process = process = self._begun()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; reading says how
            process.stdin.write((json.dumps(self.reward.as_json()) + "\n").encode())
            process.stdin.flush()
        line = self._read_line(START_S)
        if line is None:
            return self._ended(translate("it was not ready within {seconds:g} s", seconds=START_S))
        problem = json.loads(line).get("error")
        if problem is not None:
            self.stop()
        return problem

    def _begun(self) -> subprocess.Popen[bytes]:
        self._unread = b""
        root = str(Path(__file__).parents[3])
        paths = [root, *sys.path]  # the plug-in is found where the recipe's user has it
        return subprocess.Popen(
            [sys.executable, "-m", "yaongi.tune.rewards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
            start_new_session=True,
        )

    def _read_line(self, timeout_s: float) -> bytes | None:
        """The next line; None when time is up or the process has ended."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                part = os.read(self._process.stdout.fileno(), 65_536)
                if not part:
                    return None
                self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ended(self, late: str) -> str:
        """Stop the process; why there was no answer: ``late``, unless it had ended by itself."""
        assert self._process is not None
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            code = None
        self.stop()
        if code is None:
            return late
        return translate("its process ended with code {code}", code=code)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _plain(sample: Sample) -> dict[str, Any]:
    fields = asdict(sample)
    return {**fields, "prompt": [dict(message) for message in sample.prompt]}
