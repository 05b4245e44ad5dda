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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yaongi.core.errors import RewardError
from yaongi.tune.rewards import Reward, Sample

START_S = 60.0
"""Longest time for a process to import what it needs, before its first answer."""


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
                    problem = f"it gave {score}, which is no finite number"
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
        fresh = self._process is None
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        lines = json.dumps([_plain(sample) for sample in samples]) + "\n"
        try:
            process.stdin.write(lines.encode())
            process.stdin.flush()
        except BrokenPipeError:  # it died at once; reading says how
            pass
        for _sample in samples:
            line = self._read_line(self.reward.timeout_s + START_S * fresh)
            fresh = False
            if line is None:
                code = self._ended()
                yield {
                    "error": f"no answer within {self.reward.timeout_s:g} s"
                    if code is None
                    else f"its process ended with code {code}"
                }
                return
            yield json.loads(line)

    def _start(self) -> subprocess.Popen[bytes]:
        self._unread = b""
        root = str(Path(__file__).parents[3])
        paths = [root, *sys.path]  # the plug-in is found where the recipe's user has it
        process = subprocess.Popen(
            [sys.executable, "-m", "yaongi.tune.rewards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)},
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write((json.dumps(self.reward.as_json()) + "\n").encode())
        return process

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

    def _ended(self) -> int | None:
        """Stop the process; its exit code if it had ended by itself."""
        assert self._process is not None
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            code = None
        self.stop()
        return code

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _plain(sample: Sample) -> dict[str, Any]:
    fields = asdict(sample)
    return {**fields, "prompt": [dict(message) for message in sample.prompt]}
