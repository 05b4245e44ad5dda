"""Small odd shapes for model tests, and a layer kind from outside."""

from __future__ import annotations

import torch
from torch import nn

from yaongi.model.layer import Layer, LayerConfig, LayerCount
from yaongi.model.lm import LM, LMConfig

VOCAB = 60
SETTINGS = {
    "attention": {"n_heads": 4, "n_kv_heads": 2, "head_dim": 6, "rope_theta": 1e4, "qk_norm": True},
    "mamba": {"n_heads": 6, "head_dim": 5, "n_groups": 2, "d_state": 7},
    "mlp": {"d_ff": 40, "activation": "swiglu"},
    "moe": {"n_experts": 5, "top_k": 2, "d_ff": 11, "d_shared": 9, "scale": 2.5, "balance": 0.01},
}
NANO_LIKE = "ME*EM-"
ENGRAM = {"layers": [1, 3], "heads": 2, "head_dim": 5, "rows": 30,
          "modules": {3: {"orders": [2, 4], "heads": 3, "rows": 40}}}  # fmt: skip
PATTERNS = ["M", "*", "-", "E", "R", "(*-)x2", "(*E)x2", "Mx3", NANO_LIKE, "MR*"]


def config(pattern: str, **changes) -> LMConfig:
    """A model whose numbers share no factors by accident."""
    letters = {"R": {"kind": "shapes:DecayConfig", "rate": 0.7}} if "R" in pattern else {}
    data = {"vocab_size": VOCAB, "d_model": 22, "pattern": pattern, "init_std": 0.25,
            "letters": letters, **SETTINGS, **changes}  # fmt: skip
    return LMConfig.model_validate(data)


def model(pattern: str, **changes) -> LM:
    """An initialised model in training mode."""
    return LM(config(pattern, **changes))


def engram_model(pattern: str = NANO_LIKE, **changes) -> LM:
    """A model with two Engrams whose memories, convolutions and canonical ids all matter."""
    lm = model(pattern, **{"engram": ENGRAM, **changes})
    lm.set_canonical_ids([i // 2 for i in range(VOCAB)])
    for engram in lm.engrams().values():
        torch.nn.init.normal_(engram.conv, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(
            engram.table.weight, std=3, generator=torch.Generator().manual_seed(2)
        )
    return lm


def tokens(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    """(batch, length) ids."""
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


class DecayConfig(LayerConfig):
    """A plug-in: a running mean with a scale, reset at documents."""

    kind: str = "shapes:DecayConfig"
    rate: float = 0.5

    def build(self, d_model, norm_eps):
        return DecayLayer(self, d_model)

    def count(self, d_model, context, cache_bytes=2):
        return LayerCount(d_model, 0, 2.0 * d_model, 4 * d_model)


class DecayLayer(Layer):
    """h_t = rate h_{t-1} + x_t, y = scale h."""

    def __init__(self, cfg, d_model):
        super().__init__()
        self.cfg = cfg
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x, ctx, state=None):
        docs = ctx.docs_from(1)
        h = torch.zeros_like(x[:, 0]) if state is None else state
        out = []
        for t in range(x.shape[1]):
            if docs is not None:
                h = h * (docs[:, t] == docs[:, t + 1])[:, None]
            h = self.cfg.rate * h + x[:, t]
            out.append(h)
        return torch.stack(out, 1) * self.scale, None if state is None else h, None

    def init_state(self, batch, max_len, dtype, device):
        return torch.zeros(batch, self.scale.shape[0], device=device)

    def init_weights(self, generator, std, out_std):
        with torch.no_grad():
            self.scale.fill_(1.0)
