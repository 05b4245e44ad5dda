"""From the rewards of a group to the weight of each of its tokens: the arithmetic of GRPO.

Pure functions on numpy arrays; where GRPO (DeepSeekMath, arXiv:2402.03300), Dr. GRPO
(arXiv:2503.20783) and DAPO (arXiv:2503.14476) differ, the difference is one argument here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Average = Literal["sequence", "token", "constant"]
"""How the losses of tokens become one; see ``token_weights``."""


def group_advantages(rewards: np.ndarray, *, scale_by_std: bool) -> np.ndarray:
    """How much better each completion of one prompt is than its group.

    Args:
        rewards: (G,).
        scale_by_std: divide by the group's standard deviation, as GRPO does; Dr. GRPO leaves it
            out, since it makes questions that are nearly all right or wrong count more.
    Returns: (G,) float64; 0 throughout where all rewards are equal.
    Source: arXiv:2402.03300, section 4.1.2; arXiv:2503.20783, equation 3.
    """
    centred = rewards - rewards.mean()
    if not differ(rewards):
        return np.zeros_like(centred)
    return centred / centred.std() if scale_by_std else centred


def differ(rewards: np.ndarray) -> bool:
    """Whether a group teaches anything: its rewards are not all the same."""
    return bool(np.ptp(rewards) > 1e-9)


def overlong_penalty(length: int, max_tokens: int, buffer: int) -> float:
    """What is added to the reward of a long completion: 0 up to ``max_tokens - buffer`` tokens,
    then falling to -1 at ``max_tokens``. No penalty with a buffer of 0.

    Source: arXiv:2503.14476, equation 13.
    """
    if not buffer:
        return 0.0
    return -float(np.clip((length - (max_tokens - buffer)) / buffer, 0.0, 1.0))


def token_weights(lengths: np.ndarray, average: Average, max_tokens: int) -> np.ndarray:
    """What each token of a completion counts in the loss of a step.

    Args:
        lengths: (B,) tokens of each completion.
        average: ``sequence`` takes the mean over a completion's tokens, then over completions
            (GRPO, arXiv:2402.03300, equation 3): tokens of long ones count less. ``token`` takes
            the mean over all tokens (DAPO, arXiv:2503.14476, equation 12). ``constant`` divides the
            sum by the number of completions and ``max_tokens``, so that no length changes what a
            token counts (Dr. GRPO, arXiv:2503.20783, section 3.2).
    Returns: (B,) float64.
    """
    rows = len(lengths)
    if average == "sequence":
        return 1 / (rows * lengths)
    per_token = 1 / lengths.sum() if average == "token" else 1 / (rows * max_tokens)
    return np.full(rows, per_token)
