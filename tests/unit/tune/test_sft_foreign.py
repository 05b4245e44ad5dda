"""Imported models learn to converse in the chat template they came with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_road
import foreign_tokenizers
import pytest
import tiny

import yaongi
from yaongi.cli.start import tokenizer_of
from yaongi.core.artifact import Artifact
from yaongi.core.errors import DataError, TokenizerError
from yaongi.core.runlog import read_metrics
from yaongi.interop.hf import export_hf, import_hf
from yaongi.text.foreign import ForeignTokenizer
from yaongi.tune.sft import SFTConfig, sft


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    make, template = foreign_tokenizers.make, foreign_tokenizers.LLAMA_LIKE
    return foreign_road.road(tmp_path_factory.mktemp("road"), make, template)


def config(**changes: Any) -> SFTConfig:
    return tiny.sft_config(**{"steps": 2, "optimizer": {"kind": "adamw", "lr": 5e-3}, **changes})


def test_it_learns_to_answer_and_to_stop(made: dict[str, Artifact], tmp_path: Path) -> None:
    done = sft(config(steps=60), made["base"], made["shards"], tmp_path / "sft")
    losses = [row["loss"] for row in read_metrics(done.path)]
    assert losses[-1] < losses[0] / 4
    model = yaongi.load(done.path)
    assert isinstance(model.tokenizer, ForeignTokenizer) and 1 in model.tokenizer.stop_ids
    assert model.chat([*foreign_road.CHATS[3][:3]], max_tokens=40) == "네!"
    more = sft(config(), done, made["shards"], tmp_path / "more")
    assert more.manifest.parents[0].kind == "sft"
    assert tokenizer_of(more).path == made["base"].path
    export_hf(done.path, tmp_path / "again")
    back = yaongi.load(import_hf(tmp_path / "again", tmp_path / "back").path)
    assert back.chat([*foreign_road.CHATS[3][:3]], max_tokens=40) == "네!"


def test_shards_of_another_model_are_refused(made: dict[str, Artifact], tmp_path: Path) -> None:
    make = foreign_tokenizers.make_sentencepiece
    other = foreign_road.road(tmp_path, make, foreign_tokenizers.LLAMA2)
    with pytest.raises(DataError, match=r"encoded with the tokenizer .* learnt with"):
        sft(config(), made["base"], other["shards"], tmp_path / "sft")


def test_a_template_that_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="differently once message 3 is there"):
        foreign_road.road(tmp_path, foreign_tokenizers.make, foreign_tokenizers.FORGETFUL)
