"""Import and export beside transformers: the same tensors, logits and greedy continuations."""

from __future__ import annotations

from pathlib import Path

import hf_random
import pytest
import torch
from twin_checks import close

import yaongi
from yaongi.interop.hf import export_hf, import_hf
from yaongi.interop.hf_files import read_weights

transformers = pytest.importorskip("transformers")

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", hf_random.KINDS)
def test_import_and_export(kind: str, seed: int, tmp_path: Path) -> None:
    theirs = hf_random.save(kind, seed, tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1, "not in shards"
    made = import_hf(tmp_path / "theirs", tmp_path / "ours")
    ours = yaongi.load(made.path, dtype="fp32")
    ids = torch.randint(hf_random.VOCAB, (2, 40), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        close(ours.logits(ids), theirs(ids).logits, 1e-4)
    assert greedy_ours(ours, ids[:, :7]) == greedy_theirs(theirs, ids[:, :7])
    same_after_export(tmp_path, theirs, ids)


def same_after_export(folder: Path, theirs, ids: torch.Tensor) -> None:
    """Written out again, in shards: the same bits, and transformers makes the same of them."""
    export_hf(folder / "ours", folder / "again", shard_bytes=5000)
    before, after = read_weights(folder / "theirs"), read_weights(folder / "again")
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), name
    again, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "again", output_loading_info=True, experts_implementation=hf_random.EXPERTS
    )
    assert not any(report.values()), report
    assert again.config.model_type == theirs.config.model_type
    with torch.no_grad():
        close(again.eval()(ids).logits, theirs(ids).logits, 1e-5)


def greedy_ours(model: yaongi.Model, ids: torch.Tensor, count: int = 12) -> list[list[int]]:
    state = model.lm.init_state(len(ids), ids.shape[1] + count)
    found = ids
    with torch.no_grad():
        for _ in range(count):
            out = model.lm(ids, state=state)
            state = out.state
            ids = model.lm.logits(out.hidden[:, -1:]).argmax(-1)
            found = torch.cat([found, ids], 1)
    return found.tolist()


def greedy_theirs(model, ids: torch.Tensor, count: int = 12) -> list[list[int]]:
    mask = torch.ones_like(ids)
    found = model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
    )
    return found.tolist()


@pytest.mark.parametrize("kind", ["llama", "qwen3_moe", "nemotron_h experts", "mamba2"])
def test_half_precision_keeps_its_bits(kind: str, tmp_path: Path) -> None:
    hf_random.save(kind, 0, tmp_path / "theirs", torch.bfloat16)
    import_hf(tmp_path / "theirs", tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "again")
    before, after = read_weights(tmp_path / "theirs"), read_weights(tmp_path / "again")
    assert {t.dtype for t in before.values()} >= {torch.bfloat16}
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]), name
