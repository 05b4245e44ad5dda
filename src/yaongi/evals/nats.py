"""What a model gives for the next tokens, by the product that it generates with.

A loss takes the unembedding as a matrix. That of a quantized model is one in integers, which rounds
its input, too: widened, it would be another model than the one that runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yaongi.model.lm import LM
from yaongi.ops.cross_entropy.chunked import chunk_tokens


def log_probs(model: LM, hidden: Tensor) -> Tensor:
    """(n,D) -> (n,V) float32, of the ids that a token has; for a block of tokens."""
    return model.logits(hidden).float()[:, : model.cfg.used_ids].log_softmax(-1)


def nats(model: LM, hidden: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target, with the logits of a block of tokens in memory.

    Args:
        hidden: (M,D) final hidden states.
        targets: (M,) int64.
    Returns: (M,) float32.
    """
    size = chunk_tokens(hidden.device.type, len(hidden), model.cfg.vocab_size)
    blocks = zip(hidden.split(size), targets.split(size), strict=True)
    # no tokens are one block, too, which not every product takes
    found = [-log_probs(model, h).gather(1, t[:, None])[:, 0] for h, t in blocks if len(t)]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.float32)
