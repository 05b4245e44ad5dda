"""Adam for tables of which a step touches few rows: every row has a clock of its own.

Engram's tables (arXiv:2601.07372, section 2.4: Adam at 5 times the learning rate, no decay) get
sparse gradients. A row's moments and bias correction count only the steps in which it occurs, so
each row follows Adam (arXiv:1412.6980) on its own gradients and all others stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

CHUNK_ELEMENTS = 1 << 22
"""Elements updated at once: bounds the scratch memory whatever a step touched."""


class RowwiseAdam(torch.optim.Optimizer):
    """Adam on the rows of a sparse gradient.

    The lazy form differs from dense Adam, whose moments also fade in the steps without a gradient;
    where every row occurs in every step the two are equal.

    Args:
        eps: far below one token's share of the mean loss of a large batch, which is all the
            gradient most rows ever get.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-12,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the rows in each gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_table(p, p.grad.coalesce(), group)
        return loss

    def _step_table(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
            state["row_steps"] = torch.zeros(len(p), dtype=torch.float32, device=p.device)
        size = max(1, CHUNK_ELEMENTS // p.shape[1])
        parts = zip(grad.indices()[0].split(size), grad.values().split(size), strict=True)
        for rows, part in parts:
            _step_rows(p, state, rows, part, group)


def _step_rows(
    p: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor, group: dict[str, Any]
) -> None:
    """Algorithm 1 of Adam for some rows of p (R,W); none occurs twice."""
    beta1, beta2 = group["betas"]
    steps = state["row_steps"][rows] + 1
    mean = state["exp_avg"][rows].lerp_(grad, 1 - beta1)
    square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    state["row_steps"].index_copy_(0, rows, steps)
    state["exp_avg"].index_copy_(0, rows, mean)
    state["exp_avg_sq"].index_copy_(0, rows, square)
    mean /= (1 - beta1**steps)[:, None]
    square /= (1 - beta2**steps)[:, None]
    p.index_add_(0, rows, mean.div_(square.sqrt_().add_(group["eps"])), alpha=-group["lr"])
