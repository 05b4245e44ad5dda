"""A chat model exported whole: transformers tokenizes, renders and answers as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_tokenizers
import hf_random
import pytest
import tiny
import torch

import yaongi
from yaongi.interop.hf import export_hf, import_hf
from yaongi.model.io import save_model

transformers = pytest.importorskip("transformers")

CHATS = [
    [{"role": "user", "content": "안녕? <|im_end|> 뭐 해"}],
    [
        {"role": "system", "content": "너는 야옹이다."},
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "  고마워\n"},
    ],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our hybrid with our tokenizer, its vocabulary padded, exported."""
    from yaongi.model.lm import LM, LMConfig

    where = tmp_path_factory.mktemp("export")
    settings = tiny.lm("M*-M").cfg.as_json()
    settings["attention"]["rope_theta"] = None
    model = LM(LMConfig.model_validate({**settings, "tied": True}))
    save_model(model, where / "ours")
    tiny.tokenizer().save(where / "ours")
    export_hf(where / "ours", where / "theirs")
    return where


@pytest.mark.parametrize("chat", CHATS)
def test_our_chat_template_in_transformers(folder: Path, chat) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder / "theirs")
    found = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    ids = yaongi.load(folder / "ours").chat_ids(chat)
    if "<|im_end|>" not in chat[0]["content"]:  # which transformers takes for the real one
        assert found["input_ids"] == ids
    tokenizer: Any = yaongi.load(folder / "ours").tokenizer
    assert tokenizer.decode(ids, control=True) == (
        theirs.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    )


def test_transformers_answers_as_we_do(folder: Path) -> None:
    """Greedy, with the ids we never sample left out there too, and the same stops."""
    ours = yaongi.load(folder / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "theirs")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "theirs")
    for chat in CHATS[1], [{"role": "user", "content": "고양이"}]:
        prompt = torch.tensor([ours.chat_ids(chat)])
        found = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False
        )
        text = tokenizer.decode(found[0, prompt.shape[1] :], skip_special_tokens=True)
        assert text == ours.chat(chat, max_tokens=12)


def test_it_comes_back_with_the_same_tokenizer(folder: Path, tmp_path: Path) -> None:
    back: Any = yaongi.load(import_hf(folder / "theirs", tmp_path / "back").path)
    assert back.tokenizer.hash == tiny.tokenizer().hash


@pytest.mark.parametrize("in_config", [True, False])
@pytest.mark.parametrize("template", [foreign_tokenizers.LLAMA_LIKE, foreign_tokenizers.CHATML])
def test_a_foreign_chat_template(tmp_path: Path, template: str, in_config: bool) -> None:
    hf_random.save("llama", 0, tmp_path / "theirs")
    foreign_tokenizers.make(tmp_path / "theirs", template, in_config=in_config)
    ours: Any = yaongi.load(widen(tmp_path))
    export_hf(tmp_path / "ours", tmp_path / "again")
    for place in ("theirs", "again"):
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / place)
        chat = CHATS[1]
        assert ours.tokenizer.render(chat) == theirs.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=False
        )
        found = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
        assert found["input_ids"] == ours.chat_ids(chat)
        assert theirs("안녕 a b")["input_ids"] == ours.tokenizer.text_ids("안녕 a b")
    assert isinstance(ours.chat(CHATS[1], max_tokens=4), str)
    assert isinstance(ours.generate("안녕", max_tokens=4), str)


def widen(folder: Path) -> Path:
    """The tiny model imported, its vocabulary made wide enough for a tokenizer."""
    import json

    import safetensors.torch

    from yaongi.interop.hf_files import INDEX, SINGLE, read_weights

    source = folder / "theirs"
    wide = {
        name: torch.randn(340, t.shape[1]) if t.shape[0] == hf_random.VOCAB else t
        for name, t in read_weights(source).items()
    }
    (source / INDEX).unlink()
    for path in source.glob("model-*"):
        path.unlink()
    safetensors.torch.save_file(wide, source / SINGLE)
    settings = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**settings, "vocab_size": 340}))
    return import_hf(source, folder / "ours").path
