"""Prompts of an int4 model are read in 8 bits, and an answer remains that of the request."""

import logging

import pytest
import tiny
import torch

import yaongi
from yaongi.cli.main import run
from yaongi.core.errors import CapabilityError, ConfigError
from yaongi.infer import reader as reader_module
from yaongi.infer.engine import Engine, Request
from yaongi.infer.packed import twin
from yaongi.infer.reader import MANY, reader
from yaongi.infer.rules import Generation
from yaongi.interop.quantize import quantize
from yaongi.model.adapted import BASE
from yaongi.model.io import save_model
from yaongi.model.quantized import Int4Weight, Scheme
from yaongi.model.quantized_io import load_quantized
from yaongi.ops.quant.int4pack import int4pack_unavailable
from yaongi.ops.quant.int_mm import int_mm_unavailable
from yaongi.serve.worker import Worker

CPU = torch.device("cpu")
TOK = tiny.tokenizer()
MISSING = int4pack_unavailable(CPU) or int_mm_unavailable(CPU)
needs_vnni = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
WEIGHTS = pytest.mark.parametrize("weights", [None, "int8"])


def made(folder, to: str, plain=None):
    save_model(plain or tiny.lm("M*-E", engram=tiny.ENGRAM), folder / "plain")
    TOK.save(folder / "plain")
    return load_quantized(quantize(folder / "plain", folder / to, Scheme(to=to)).path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Every layer kind in int4, in float32."""
    return made(tmp_path_factory.mktemp("int4"), "int4")


def prompt(length: int, seed: int = 0) -> list[int]:
    drawn = torch.randint(80, 400, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return [TOK.eot_id, *drawn.tolist()]


def request(ids: list[int], seed: int = 0) -> Request:
    return Request(ids, Generation(max_tokens=6, temperature=1.0), seed)


def complete(model, requests, weights, **settings):
    return Engine(model, TOK, prompt_weights=weights, **settings).complete(requests)


@needs_vnni
@WEIGHTS
def test_an_answer_is_that_of_the_request_alone_bit_for_bit(model, weights):
    """Chunks of few rows and of many, an end of few rows behind many, all beside one another."""
    lengths = (3, MANY - 1, MANY, 100, 256 + 5, 256 + MANY)
    requests = [request(prompt(n, n), seed=n) for n in lengths]
    expected = [complete(model, [r], weights)[0] for r in requests]
    assert complete(model, requests, weights) == expected
    assert complete(model, requests, weights, max_rows=2) == expected


@needs_vnni
@WEIGHTS
def test_what_is_known_of_a_prompt_changes_no_bit(model, weights):
    whole = prompt(2 * MANY + 9)
    expected = complete(model, [request(whole)], weights, prefix_bytes=0, chunk=MANY)
    engine = Engine(model, TOK, prompt_weights=weights, chunk=MANY)
    engine.complete([request([*whole[: MANY + 3], 81, 82])])
    assert engine.complete([request(whole)]) == expected
    assert engine.prefixes.reused == MANY


@needs_vnni
@WEIGHTS
def test_it_reads_what_the_model_reads_but_for_the_rounding_of_8_bits(tmp_path, weights):
    model = made(tmp_path, "int4", tiny.lm("M*-E", std=0.1))
    ids = torch.tensor([prompt(2 * MANY)])
    network = twin(model)[0]
    with torch.inference_mode():
        expected = network.logits(network(ids).hidden)
        found = network.logits(reader(network, weights)(ids).hidden)
    assert not torch.equal(found, expected)
    assert (found - expected).std() < 0.03 * expected.std()


@needs_vnni
def test_without_int8_weights_few_rows_go_the_way_of_decoding(model):
    network = twin(model)[0]
    ids = torch.tensor([prompt(MANY - 1)])
    with torch.inference_mode():
        assert torch.equal(reader(network, None)(ids).hidden, network(ids).hidden)


@needs_vnni
def test_memory_is_taken_only_where_it_was_asked_for(tmp_path, caplog):
    model = made(tmp_path, "int4")
    network = twin(model)[0]

    def held(lm) -> dict[int, int]:
        return {t.data_ptr(): t.nbytes for t in lm.state_dict().values()}

    with caplog.at_level(logging.WARNING):
        assert held(reader(network, None)).items() <= held(network).items()
        assert not caplog.records
        found = reader(network, "int8")
    more = held(found).items() - held(network).items()
    holders = [m for m in network.modules() if isinstance(m, Int4Weight)]
    matrices = [m.matrix() for m in holders]
    wanted = sum(m.numel() + 4 * m.shape[:-1].numel() for m in matrices)
    assert sum(size for _, size in more) == wanted
    assert "more memory" in caplog.text
    assert "KB" in caplog.text
    assert reader(network, "int8") is found  # a second engine takes the same
    kept = {m.packed.data_ptr() for m in holders}
    assert not kept & set(held(found))


@needs_vnni
def test_new_weights_are_read_with(tmp_path):
    model = made(tmp_path, "int4")
    engine = Engine(model, TOK, prompt_weights="int8")
    wanted = request(prompt(MANY))
    before = engine.complete([wanted])
    matrix = next(m for m in model.modules() if isinstance(m, Int4Weight))
    matrix.packed.add_(1)
    after = engine.complete([wanted])
    assert after != before
    assert after == complete(model, [wanted], "int8")


@pytest.mark.parametrize("to", ["fp32", "int8"])
def test_models_that_are_not_in_int4_are_refused(tmp_path, to):
    model = tiny.lm() if to == "fp32" else made(tmp_path, to)
    with pytest.raises(CapabilityError, match=r"int8 weights: .* not in int4"):
        Engine(model, TOK, prompt_weights="int8")
    assert reader(twin(model)[0], None) is twin(model)[0]


def test_a_processor_without_vnni_is_refused_and_reads_as_before(model, monkeypatch):
    monkeypatch.setattr(reader_module, "int_mm_unavailable", lambda device: "no VNNI here")
    with pytest.raises(CapabilityError, match="int8 weights: no VNNI here"):
        Engine(model, TOK, prompt_weights="int8")
    assert reader(twin(model)[0], None) is twin(model)[0]


@needs_vnni
def test_what_is_loaded_with_them_answers_with_them(tmp_path, capsys):
    folder = tmp_path / "int4"
    made(tmp_path, "int4")
    loaded = yaongi.load(folder, prompt_weights="int8")
    text = "고양이가 야옹 " * MANY
    ids = TOK.text_ids(text)
    expected = complete(loaded.lm, [Request(ids, Generation(max_tokens=6), 0)], "int8")[0]
    assert [e.logprob for e in loaded.events(ids, max_tokens=6)] == list(expected.logprobs)
    served = Worker(loaded, rows=2).engines[BASE]
    assert served.complete([Request(ids, Generation(max_tokens=6), 0)]) == [expected]
    command = ["generate", str(folder), "--prompt", text, "--max-tokens", "6"]
    assert run([*command, "--prompt-weights", "int8"]) == 0
    assert capsys.readouterr().out.strip() == expected.text.strip()


@pytest.mark.parametrize(
    ("path", "weights", "error", "says"),
    [
        ("plain", "int8", CapabilityError, "not in int4"),
        ("m.gguf", "int8", CapabilityError, "leave --prompt-weights out"),
        ("plain", "int9", ConfigError, "'int9'; expected one of int8"),
    ],
)
def test_what_cannot_be_is_said_when_loading(tmp_path, path, weights, error, says):
    save_model(tiny.lm(), tmp_path / "plain")
    TOK.save(tmp_path / "plain")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(error, match=says):
        yaongi.load(tmp_path / path, prompt_weights=weights)
