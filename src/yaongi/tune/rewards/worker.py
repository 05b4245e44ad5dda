"""The process a reward runs in: one JSON line with samples in, one with a number out for each.

Its first line says that it is ready, so that starting is no part of a completion's time.

Run as ``python -m yaongi.tune.rewards.worker``; ends when its input does, or its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from yaongi.tune.rewards import REWARDS, Reward, Sample

_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Read the settings, then score batch after batch."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a reward prints is no answer
    if sys.platform == "linux":  # a reward that hangs must not outlive its run
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    def tell(found: dict[str, Any]) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    settings = json.loads(sys.stdin.readline())
    reward = REWARDS.lookup(settings["kind"]).model_validate(settings)
    try:
        reward.prepare()
    except Exception as error:  # as in ``answer``
        tell({"error": f"{type(error).__name__}: {error}"})
        return
    tell({})
    for line in sys.stdin:
        samples = [Sample(**fields) for fields in json.loads(line)]
        for found in answer(reward, samples):
            tell(found)


def answer(reward: Reward, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """``{"score": x}`` or ``{"error": why}`` for each sample; one that fails costs only itself."""
    done = 0
    while done < len(samples):
        try:
            for score in reward.scores(samples[done:]):
                if isinstance(score, str | bytes):  # float("1") would hide the mistake
                    raise TypeError(f"it gave the text {score!r}, which is no number")
                done += 1
                yield {"score": float(score)}
            if done < len(samples):
                raise ValueError("it gave fewer scores than there were completions")
        except Exception as error:  # whatever a plug-in raises is told with the row
            done += 1
            yield {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
