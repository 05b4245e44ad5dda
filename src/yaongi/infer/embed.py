"""A text as one vector: the mean of what the last layer gives for its tokens.

Mean pooling is Sentence-BERT's (Reimers & Gurevych 2019, arXiv:1908.10084, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from yaongi.model.lm import LM

CHUNK = 512


@torch.inference_mode()
def mean_vector(model: LM, ids: Sequence[int], *, chunk: int = CHUNK) -> Tensor:
    """ids (T,) -> (D,) float32 of length 1, on the CPU; memory is that of one chunk."""
    state = model.init_state(1, len(ids))
    total = torch.zeros(model.cfg.d_model, device=model.device)
    for part in torch.tensor([list(ids)], device=model.device).split(chunk, dim=1):
        out = model(part, state=state)
        total += out.hidden[0].float().sum(0)
        state = out.state
    return F.normalize(total / len(ids), dim=0).cpu()
