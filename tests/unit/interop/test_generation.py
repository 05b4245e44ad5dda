"""The sampling settings a model comes with, from a folder and from a GGUF."""

import json

import pytest
from odd_models import odd, saved

from yaongi.core.errors import ArtifactError
from yaongi.interop.generation import folder_sampling, keys_sampling
from yaongi.interop.gguf import export_gguf
from yaongi.interop.gguf.header import read_header


def stated(folder, **settings):
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder_sampling(folder)


def test_a_folder_states_some_or_none(tmp_path):
    assert folder_sampling(tmp_path) == {}
    assert stated(tmp_path, eos_token_id=[1], temperature=0.6, top_k=20, min_p=None) == {
        "temperature": 0.6,
        "top_k": 20,
    }
    assert stated(tmp_path, repetition_penalty=1.1, top_k=-1, max_new_tokens=9) == {
        "repetition_penalty": 1.1,
        "top_k": 0,
    }
    assert stated(tmp_path, do_sample=False, temperature=0.6) == {"temperature": 0}
    assert stated(tmp_path, do_sample=True, top_p=0.9) == {"top_p": 0.9}


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_p": 2}, {"top_k": "many"}])
def test_what_is_out_of_range_names_the_file(tmp_path, wrong):
    with pytest.raises(ArtifactError, match=r"generation_config\.json.*" + next(iter(wrong))):
        stated(tmp_path, **wrong)


def test_a_gguf_carries_them_along(tmp_path):
    folder, file = saved(odd("llama", 3), tmp_path / "m"), tmp_path / "x.gguf"
    told = stated(folder, temperature=0.6, top_k=40, repetition_penalty=1.25)
    export_gguf(folder, file, quant="f32", context_len=64)
    keys = read_header(file).keys
    assert keys["general.sampling.temp"] == pytest.approx(0.6)  # as llama.cpp reads it
    assert keys_sampling(keys, file) == told
    with pytest.raises(ArtifactError, match=r"x\.gguf.*top_p"):
        keys_sampling({"general.sampling.top_p": 7.0}, file)
