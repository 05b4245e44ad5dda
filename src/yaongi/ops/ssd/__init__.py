"""State-space duality: the scan of Mamba-2 (Dao & Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from yaongi.ops.backend import Backend, Op, all_of, anywhere, cuda_from
from yaongi.ops.ssd.chunked import ssd_chunked
from yaongi.ops.ssd.fla import CHUNK_SIMPLE_GLA, ssd_fla
from yaongi.ops.ssd.mamba_ssm import CHUNK_SCAN, STATE_UPDATE, ssd_mamba_ssm
from yaongi.ops.ssd.reference import ssd_reference


class SSD(Protocol):
    """h_t = exp(dt_t a) h_{t-1} + dt_t x_t B_t^T and y_t = h_t C_t + d x_t, per head."""

    def __call__(
        self,
        x: Tensor,
        dt: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        doc_ids: Tensor | None = None,
        state: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run it. Everything is computed in float32, where the backend does not say otherwise.

        Args:
            x: (B,T,H,P) inputs.
            dt: (B,T,H) step sizes > 0, float32.
            a: (H,) decay rates < 0, float32.
            b, c: (B,T,G,N), shared by the H/G heads of a group.
            d: (H,) skip weights, float32.
            doc_ids: (B,T); the state is zeroed where they change. With ``state`` they are
                (B,1+T), the first column being the document the state belongs to.
            state: (B,H,P,N) float32 before the first step; None is zero.
        Returns: y (B,T,H,P) in x's dtype; the state after the last step (B,H,P,N) float32.
        """
        ...


SSD_OP: Op[SSD] = Op(
    "ssd",
    [
        # Triton compiles for compute capability 8.0 and newer
        Backend(
            "mamba_ssm",
            ssd_mamba_ssm,
            all_of(cuda_from(8), CHUNK_SCAN.missing, STATE_UPDATE.missing),
            measured=False,
        ),
        Backend("fla", ssd_fla, all_of(cuda_from(8), CHUNK_SIMPLE_GLA.missing), measured=False),
        Backend("chunked", ssd_chunked, anywhere),
        Backend("reference", ssd_reference, anywhere),
    ],
)
