"""The scan by the Triton kernels of ``mamba-ssm``, the authors' own (Dao & Gu 2024).

Matrix products are in x's dtype with float32 sums, where the others here compute in float32 all
the way; decays and the state between calls are float32. dt's gradient is summed by atomic adds,
so two runs may differ in its last bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from yaongi.ops.backend import Imported, opaque
from yaongi.ops.documents import sequence_index

CHUNK = 256  # the package's own default

CHUNK_SCAN = Imported("mamba-ssm", "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")
STATE_UPDATE = Imported(
    "mamba-ssm", "mamba_ssm.ops.triton.selective_state_update", "selective_state_update"
)


def _ssd(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    doc_ids: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See ``ops.ssd.SSD``."""
    if x.shape[1] == 1 and state is not None and not torch.is_grad_enabled():
        return _step(x, dt, a, b, c, d, doc_ids, state)
    index = None
    if doc_ids is not None:
        index = sequence_index(doc_ids)
        if state is not None:  # the first column is the document the state belongs to: sequence 0
            index = index[:, 1:].contiguous()
    return CHUNK_SCAN(
        x, dt, a, b, c, CHUNK, D=d, initial_states=state, seq_idx=index, return_final_states=True
    )


def _step(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    doc_ids: Tensor | None,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token without gradients. The kernel overwrites the state it gets: a copy."""
    h = state.clone()
    if doc_ids is not None:
        h *= (doc_ids[:, 0] == doc_ids[:, 1])[:, None, None, None]
    width, n = x.shape[3], b.shape[3]
    y = STATE_UPDATE(
        h,
        x[:, 0],
        # stride 0 over width and state tells the kernel that each head has one number
        dt[:, 0, :, None].expand(-1, -1, width),
        a[:, None, None].expand(-1, width, n),
        b[:, 0],
        c[:, 0],
        D=d[:, None].expand(-1, width),
        # the softplus and its bias are already in dt, but mamba-ssm 2.3 fails without a bias
        dt_bias=torch.zeros_like(d)[:, None].expand(-1, width),
    )
    return y[:, None], h


# a compiler cannot see into the kernels' launches
ssd_mamba_ssm = opaque(_ssd)
