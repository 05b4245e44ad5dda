"""Reward for Python that passes unit tests: generated code, run where it can do no harm.

The row's column ``tests`` holds assertions, each a string (``test_list`` in MBPP, Austin et al.
2021, arXiv:2108.07732) or all in one. Code and tests run in ``sandbox``; what passed is reported
under a word the code was not told, so printing that all is well or leaving early earns nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from yaongi.core.errors import DataError
from yaongi.tune.rewards import Reward, Sample
from yaongi.tune.rewards.sandbox import Limits, check, run

_FENCED = re.compile(r"```(?:python|py)?[^\S\n]*\n(.*?)(?:```|\Z)", re.DOTALL)

PROGRAM = """
import json, os, sys
code, tests, word = json.load(sys.stdin)
report = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
def main(code, tests, passed):
    space = {"__name__": "__main__"}
    exec(compile(code, "<completion>", "exec"), space)
    for number, test in enumerate(tests):
        try:
            exec(compile(test, "<test>", "exec"), dict(space))
        except Exception:
            continue
        passed(number)
def reporter(word, report):
    def passed(number):
        report.write(f"{word} {number}\\n")
        report.flush()
    return passed
passed = reporter(word, report)
del word, report
main(code, tests, passed)
"""


class PythonTests(Reward):
    """Settings of ``python_tests``.

    Attributes:
        credit: ``all`` gives 1 when every test passes, ``share`` the share that does, which also
            pays for special cases.
        limits: of each run; where the machine cannot isolate, ``limits.isolation`` says whether to
            run anyway.
    """

    kind: str = "python_tests"
    credit: Literal["all", "share"] = "all"
    limits: Limits = Limits()

    def check(self) -> None:
        check(self.limits)

    def score(self, sample: Sample) -> float:
        tests = sample.column("tests", "test_list")
        tests = [tests] if isinstance(tests, str) else list(tests)
        if not tests:
            raise DataError("the row has no tests")
        passed = passing(python_of(sample.text), tests, self.limits)
        share = len(passed) / len(tests)
        return share if self.credit == "share" else float(share == 1)

    def scores(self, samples: Sequence[Sample]) -> Iterator[float]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(self.score, samples)


def python_of(text: str) -> str:
    """The code in an answer: what is fenced, joined, or all of it."""
    return "\n\n".join(_FENCED.findall(text)) or text


def passing(code: str, tests: Sequence[str], limits: Limits) -> set[int]:
    """Which tests pass, each with the names ``code`` defines.

    Raises:
        CapabilityError: the machine cannot isolate, and ``limits`` asks for it.
    """
    word = secrets.token_hex(16)
    outcome = run(PROGRAM, json.dumps([code, list(tests), word]).encode(), limits)
    lines = outcome.output.decode(errors="replace").splitlines()
    return {int(line.split()[1]) for line in lines if line.startswith(f"{word} ")}
