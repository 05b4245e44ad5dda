"""Rewards as a user might write them, most of them badly."""

import os
import time

from yaongi.tune.rewards import Reward, Sample


class Length(Reward):
    """Longer is better."""

    kind: str = "reward_plugins:Length"

    def score(self, sample: Sample) -> float:
        print("a plug-in may print")
        return len(sample.text)


class Moody(Reward):
    """Does what the completion says."""

    kind: str = "reward_plugins:Moody"

    def score(self, sample: Sample) -> float:
        if sample.text == "raise":
            raise KeyError("no such thing")
        if sample.text == "hang":
            time.sleep(600)
        if sample.text == "die":
            os._exit(3)
        if sample.text == "none":
            return None  # type: ignore[return-value]
        if sample.text == "text":
            return "1"  # type: ignore[return-value]
        return float(sample.text)


class Unready(Reward):
    """Cannot load what it needs."""

    kind: str = "reward_plugins:Unready"

    def prepare(self) -> None:
        if os.environ["REWARD_PLUGINS_START"] == "die":
            os._exit(4)
        raise OSError("no such model")

    def score(self, sample: Sample) -> float:
        return 1.0


class Parity(Reward):
    """1 for a completion with an even number of characters: half of all, so groups differ."""

    kind: str = "reward_plugins:Parity"

    def score(self, sample: Sample) -> float:
        return float(len(sample.text) % 2 == 0)
