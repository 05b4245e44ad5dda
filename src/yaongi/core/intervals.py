"""How sure a measured share is."""

from __future__ import annotations

import math

Z95 = 1.959964
"""The normal deviate of a two-sided 95 % interval."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, sensible also at 0 and 1 and for few items.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    share = successes / n
    centre = share + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
