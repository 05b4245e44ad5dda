"""One small artifact of each kind that goes to the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hub_server
import pytest
import tiny
import torch

from yaongi.core.artifact import Artifact, draft
from yaongi.interop.gguf import export_gguf
from yaongi.interop.hf import export_hf
from yaongi.interop.peft import export_peft
from yaongi.model.adapter_io import save_adapter
from yaongi.model.io import load_model
from yaongi.model.lm import LM, LMConfig
from yaongi.model.lora import AdapterConfig, adapter_tensors, add_adapters


def artifacts(folder: Path) -> dict[str, Path]:
    """Kind -> where it is. The licence of all sources is CC0."""
    made = tiny.road(folder)
    base = tiny.base(folder / "base", made["tokenizer"], llama())
    export_hf(base.path, folder / "hf")
    export_gguf(base.path, folder / "gguf" / "model.gguf")
    with draft(folder / "export", "export", config={"to": "gguf"}, parents=[base]) as work:
        export_gguf(base.path, work.path / "model.gguf", quant="q8_0")
        work.finish()
    _adapter(folder / "adapter", base)
    export_peft(folder / "adapter", folder / "peft", base=base.path)
    return {
        "base": base.path,
        "corpus": made["corpus"].path,
        "tokenizer": made["tokenizer"].path,
        "shards": made["shards"].path,
        "hf": folder / "hf",
        "gguf": folder / "gguf" / "model.gguf",
        "export": folder / "export",
        "adapter": folder / "adapter",
        "peft": folder / "peft",
    }


def llama() -> LM:
    """A model that transformers and llama.cpp know, with random weights."""
    settings = {
        "vocab_size": 512,
        "d_model": 32,
        "pattern": "(*-)x2",
        "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "rope_theta": 1e4},
        "mlp": {"d_ff": 64, "activation": "swiglu"},
    }
    model = LM(LMConfig.model_validate(settings))
    model.init_weights(0)
    return model.eval()


def _adapter(out: Path, base: Artifact) -> None:
    model = load_model(base.path)
    cfg = AdapterConfig.model_validate({"rank": 2})
    add_adapters(model, cfg)
    with torch.no_grad():
        for tensor in adapter_tensors(model).values():
            tensor.add_(0.1)
    with draft(out, "adapter", config={}, parents=[base]) as work:
        save_adapter(model, cfg, base.path, work.path)
        work.finish()


@contextmanager
def local_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """A Hub that the client talks to with a token that may write, without Xet and long waits."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    from yaongi.interop import hub_client, hub_fetch

    with hub_server.serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub_server.WRITER)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 0.0)
        monkeypatch.setattr(hub_fetch, "RESUME_BYTES", 50_000)
        monkeypatch.setattr(_http.time, "sleep", lambda _s: None)
        yield hub
