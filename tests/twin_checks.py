"""What being the same network as transformers' means: logits, gradients, decoding, documents."""

from __future__ import annotations

from typing import Any

import hf_twin
import torch
from shapes import tokens
from torch import Tensor

from yaongi.model.lm import LM
from yaongi.ops.ssd.chunked import CHUNK

LENGTH = 2 * CHUNK + 22
"""Three blocks of the scan, the last one cut short: only a middle block carries a state through."""


def check_twins(lm: LM) -> None:
    """Compare everything below with the model transformers makes of our export."""
    other = hf_twin.twin(lm)
    same_logits_and_gradients(lm, other)
    same_cached_decoding(lm, other)
    packed_is_alone(lm, other)


def close(ours: Tensor, theirs: Tensor, relative: float, what: str = "logits") -> None:
    """No element further apart than ``relative`` of the largest one."""
    apart, most = float((ours - theirs).abs().max()), float(theirs.abs().max())
    assert most > 0, f"{what}: nothing to compare, all of it is zero"
    assert apart < relative * most, f"{what}: {apart:.3g} apart, the largest is {most:.3g}"


def same_logits_and_gradients(lm: LM, other: Any) -> None:
    """One forward and backward pass over two rows: every parameter has the same gradient."""
    ids = tokens(2, LENGTH)
    lm.zero_grad(), other.zero_grad()
    ours, theirs = lm.logits(lm(ids).hidden), other(ids).logits
    close(ours, theirs, 1e-4)
    for logits in (ours, theirs):
        logits.log_softmax(-1).gather(-1, ids[..., None]).mean().backward()
    for name, (mine, other_grad) in hf_twin.gradients(lm, other).items():
        if "e_score_correction_bias" not in name:  # moved by its own rule, not by gradients
            close(mine, other_grad, 1e-3, name)


@torch.no_grad()
def same_cached_decoding(lm: LM, other: Any) -> None:
    """A prompt, then token by token: our states beside transformers' cache, at every step."""
    ids = tokens(2, 12)
    state, cache = lm.init_state(2, 12), None
    for start, end in [(0, 7), *((t, t + 1) for t in range(7, 12))]:
        out = lm(ids[:, start:end], state=state)
        state = out.state
        reply = other(ids[:, start:end], use_cache=True, **_cached(other, cache, start))
        cache = reply.cache_params if "cache_params" in reply else reply.past_key_values
        close(lm.logits(out.hidden)[:, -1], reply.logits[:, -1], 1e-4, f"step {start}")


@torch.no_grad()
def packed_is_alone(lm: LM, other: Any) -> None:
    """Documents packed into one row by us are what transformers makes of each alone."""
    lengths = [9, 1, 21, 14]
    ids = tokens(1, sum(lengths))
    doc_ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    packed = lm.logits(lm(ids, doc_ids=doc_ids).hidden)
    alone = [other(part).logits for part in ids.split(lengths, 1)]
    close(packed, torch.cat(alone, 1), 1e-4, "packed")


def _cached(other: Any, cache: Any, start: int) -> dict[str, Any]:
    """How this architecture takes its cache."""
    if cache is None:
        return {}
    name = "cache_params" if "Mamba2" in type(other).__name__ else "past_key_values"
    return {name: cache}
