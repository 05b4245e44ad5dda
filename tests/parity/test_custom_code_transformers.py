"""What no stock architecture holds runs in transformers by our modeling file, with our logits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from shapes import config, tokens
from twin_checks import close

import yaongi
from yaongi.core.errors import ConfigError
from yaongi.infer.generate import advance, prefill
from yaongi.interop import hf_custom
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.io import save_model
from yaongi.model.lm import LM

transformers = pytest.importorskip("transformers")
MODELING_FILE = Path(hf_custom.__file__).with_name(hf_custom.MODELING)


def test_a_hybrid_with_positions(tmp_path: Path) -> None:
    model = tiny.lm("M*-E")
    router: Any = model.mixers()[3].gate
    router.e_score_correction_bias[:] = torch.linspace(-0.3, 0.3, 4)
    save_model(model, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", trust_remote_code=True, output_loading_info=True
    )
    assert not any(report.values()), report
    ids = torch.randint(512, (2, 30), generator=torch.Generator().manual_seed(1))
    ours = yaongi.load(tmp_path / "ours", dtype="fp32")
    with torch.no_grad():
        close(theirs.eval()(ids).logits, ours.logits(ids), 1e-5)
    found = theirs.generate(ids, max_new_tokens=3, do_sample=False, eos_token_id=-1)
    assert found.shape == (2, 33)
    with pytest.raises(ValueError, match="no padding"):
        theirs(ids, attention_mask=ids > 5)


def test_it_comes_back(tmp_path: Path) -> None:
    model = tiny.lm("M*-E")
    save_model(model, tmp_path / "ours")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    back = yaongi.load(import_hf(tmp_path / "theirs", tmp_path / "back").path)
    assert back.config == model.cfg
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.lm.state_dict()[name]), name


def test_engram(tmp_path: Path) -> None:
    """Memories with every weight random: their tables, hashing and gate must all come along."""
    pytest.importorskip("yaongi.model.engram", reason="no Engram in this tree")
    memories = {"layers": [1, 3], "heads": 2, "head_dim": 5, "rows": 30,
                "modules": {3: {"orders": [2, 4], "heads": 3, "rows": 40}}}  # fmt: skip
    model = LM(config("ME*EM-", engram=memories)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "engram" in name:  # some start at zero
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    save_model(model, tmp_path / "ours")
    with pytest.raises(ConfigError, match="it has Engram memories; export its twin without"):
        export_hf(tmp_path / "ours", tmp_path / "stock")
    export_hf(tmp_path / "ours", tmp_path / "theirs", custom_code=True)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", trust_remote_code=True
    )
    ids = tokens(2, 30)
    with torch.no_grad():
        close(theirs.eval()(ids).logits, model.logits(model(ids).hidden), 1e-5)
    back = yaongi.load(import_hf(tmp_path / "theirs", tmp_path / "back").path).lm
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


MEMORIES = {"layers": [1, 3], "heads": 2, "head_dim": 5, "rows": 30}


@pytest.fixture(scope="module", params=["hybrid", "engram"])
def generating(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[LM, Any]:
    """Our network and theirs, of the same folder."""
    folder = tmp_path_factory.mktemp("generating")
    if request.param == "hybrid":
        model = tiny.lm("M*-E")
    else:
        model = LM(config("ME*EM-", engram=MEMORIES)).eval()
        for name, parameter in model.named_parameters():
            if "engram" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    save_model(model, folder / "ours")
    export_hf(folder / "ours", folder / "theirs", custom_code=True)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "theirs", trust_remote_code=True
    )
    return model, theirs.eval()


def greedy(model: LM, ids: torch.Tensor, count: int) -> torch.Tensor:
    """Our own decoding."""
    logits, state = prefill(model, ids, model.init_state(len(ids), ids.shape[1] + count))
    found = [ids, logits.argmax(-1, keepdim=True)]
    while len(found) <= count:
        logits, state = advance(model, found[-1], state)
        found.append(logits.argmax(-1, keepdim=True))
    return torch.cat(found, 1)


def lengths_read(monkeypatch: pytest.MonkeyPatch, theirs: Any) -> list[int]:
    """How many tokens each call of their network gets, as a list that fills."""
    seen: list[int] = []
    forward = theirs.lm.forward

    def counted(ids: torch.Tensor, **options: Any) -> Any:
        seen.append(ids.shape[1])
        return forward(ids, **options)

    monkeypatch.setattr(theirs.lm, "forward", counted)
    return seen


def test_generation_is_incremental_and_gives_our_tokens(
    generating: tuple[LM, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, theirs = generating
    ids = tokens(2, 9)
    seen = lengths_read(monkeypatch, theirs)
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": -1}
    found = theirs.generate(ids, **settings)
    assert seen == [9] + [1] * 11
    assert torch.equal(found, greedy(model, ids, 12))
    assert torch.equal(found, theirs.generate(ids, use_cache=False, **settings))
    assert seen[12:] == list(range(9, 21))


def test_a_cache_grows_without_forgetting(
    generating: tuple[LM, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, theirs = generating
    monkeypatch.setattr(sys.modules[type(theirs).__module__], "ROOM", 4)
    ids = tokens(2, 3)
    found = theirs.generate(ids, max_new_tokens=20, do_sample=False, eos_token_id=-1)
    assert torch.equal(found, greedy(model, ids, 20))


def test_beams_take_their_past_along(generating: tuple[LM, Any]) -> None:
    _, theirs = generating
    settings = {"max_new_tokens": 8, "num_beams": 3, "do_sample": False, "eos_token_id": -1}
    ids = tokens(2, 7)
    found = theirs.generate(ids, **settings)
    assert torch.equal(found, theirs.generate(ids, use_cache=False, **settings))


def test_a_cache_by_hand(generating: tuple[LM, Any]) -> None:
    model, theirs = generating
    ids = tokens(1, 12)
    with torch.no_grad():
        first = theirs(ids[:, :7], use_cache=True)
        second = theirs(ids[:, 7:], past_key_values=first.past_key_values)
        whole = model.logits(model(ids).hidden)
    close(torch.cat([first.logits, second.logits], 1), whole, 1e-4)
    assert second.past_key_values.get_seq_length() == 12
    assert theirs(ids).past_key_values is None


def test_without_yaongi_it_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['yaongi'] = None; import runpy; "
        f"runpy.run_path({str(MODELING_FILE)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "which is not installed here: pip install yaongi" in done.stderr
    assert done.returncode == 1
