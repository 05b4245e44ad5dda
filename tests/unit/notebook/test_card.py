"""How a model shows itself, printed and in a notebook."""

from pathlib import Path

import tiny

import yaongi
from yaongi.core.artifact import draft
from yaongi.model.io import save_model


def test_a_loaded_model_shows_its_pattern_sizes_and_licences(tmp_path: Path) -> None:
    model = tiny.lm("(M-)x2*E")
    with draft(tmp_path / "base", "base", config={"seq_len": 64}, seed=0) as work:
        save_model(model, work.path)
        tiny.tokenizer().save(work.path)
        work.finish(licences=["<b>CC0</b>"])
    m = yaongi.load(tmp_path / "base")
    total = sum(p.numel() for p in model.parameters())
    assert repr(m).startswith(f"Model({str(tmp_path / 'base')!r}, (M-)x2*E, {total:,} parameters")
    card = m._repr_html_()
    ids = tiny.tokenizer().vocab_size
    layers = ("Mamba-2 × 2", "attention × 1", "experts × 1")
    sizes = (f"{total:,}", "64 tokens", f"{ids} tokens", "float32, cpu")
    for shown in (*layers, *sizes, "&lt;b&gt;CC0"):
        assert shown in card, shown
    assert "<b>CC0" not in card


def test_a_model_in_memory_without_tokenizer_has_a_card() -> None:
    m = yaongi.Model(tiny.lm("M"))
    assert repr(m).startswith("Model(M, ")
    assert "only logits(ids) works" in m._repr_html_() and "licences" not in m._repr_html_()


def test_the_card_speaks_korean(monkeypatch) -> None:
    monkeypatch.setenv("YAONGI_LANG", "ko")
    assert "매개변수" in yaongi.Model(tiny.lm("M"))._repr_html_()
