"""How much each token of a conversation counts in the loss, where its row says so.

A row's ``weight`` is that of the whole conversation, a message's ``weight`` (OpenAI's: 0 keeps a
poor answer as context without teaching it) that of one answer; they multiply. A step's loss is
the weighted mean over its tokens: ``sum w_t nll_t / sum w_t``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yaongi.core.errors import DataError


def token_weights(mask: Sequence[int], metadata: Mapping[str, Any]) -> np.ndarray | None:
    """(n,) float32 weights of a conversation's tokens; None where all that is learnt counts 1.

    Args:
        mask: 1 where the assistant speaks: its k-th run of ones is the assistant's k-th message.
    Raises:
        DataError: there are not as many runs as messages.
    """
    said = [m.get("weight", 1.0) for m in metadata["messages"] if m["role"] == "assistant"]
    whole = metadata.get("weight", 1.0)
    if all(one == 1 for one in (whole, *said)):
        return None
    learnt = np.asarray(mask, dtype=np.int8)
    begins = np.diff(learnt, prepend=np.int8(0)) == 1
    if np.count_nonzero(begins) != len(said):
        raise DataError(
            "The chat template writes {found} answers of a conversation that has {n}, so its "
            "weights cannot be told apart. Leave them out.",
            found=int(np.count_nonzero(begins)),
            n=len(said),
        )
    of_message = np.asarray([0.0, *said], dtype=np.float32) * np.float32(whole)
    return of_message[np.cumsum(begins)] * learnt
