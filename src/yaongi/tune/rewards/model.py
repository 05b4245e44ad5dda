"""Reward from a reward model (Ouyang et al. 2022, arXiv:2203.02155, section 3.5): an opinion.

What people preferred, learnt from pairs by ``yaongi reward train``. A policy finds out what a model
likes too well (Gao et al. 2022, arXiv:2210.10760), so keep ``kl`` above 0 and read the rollouts.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

from yaongi.core.artifact import open_artifact
from yaongi.tune.reward import KIND, RewardModel, load_reward
from yaongi.tune.rewards import Reward, Sample


class Model(Reward):
    """Settings of ``model``.

    Attributes:
        path: folder of a ``reward`` artifact.
        centre: the score that earns a half. Scores have no zero of their own; a group's mean is
            subtracted anyway, so this matters only beside other rewards.
    """

    kind: str = "model"
    path: str
    centre: float = 0.0

    def check(self) -> None:
        """Raise ArtifactError where there is no reward model."""
        open_artifact(self.path, KIND)

    def prepare(self) -> None:
        """Load the reward model."""
        _opened(Path(self.path))

    def score(self, sample: Sample) -> float:
        """sigma(score - centre), between 0 and 1; an empty answer earns nothing."""
        if not sample.text.strip():
            return 0.0
        turns = [*sample.prompt, {"role": "assistant", "content": sample.text}]
        return 1 / (1 + math.exp(self.centre - _opened(Path(self.path)).score(turns)))


@functools.cache
def _opened(path: Path) -> RewardModel:
    """One for each process: loading costs more than many scores."""
    return load_reward(path)
