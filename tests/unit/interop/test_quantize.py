"""Quantized models: what becomes integers, what stays, and artifacts that were tampered with."""

import io
import json
import re
from pathlib import Path

import pytest
import tiny
import tiny_run
import torch

import yaongi
from yaongi.cli import quantize as verb
from yaongi.cli.main import run
from yaongi.core.artifact import MANIFEST, draft, open_artifact
from yaongi.core.errors import ArtifactError, CheckpointError, ConfigError, YaongiError
from yaongi.core.files import sha256_file
from yaongi.core.units import human_bytes
from yaongi.data.shards import Shards
from yaongi.evals.divergence import divergence
from yaongi.infer.engine import Engine, Request
from yaongi.infer.rules import Generation
from yaongi.interop.quantize import quantize
from yaongi.model import quantized_io
from yaongi.model.io import load_model, read_tensors, save_model, write_tensors
from yaongi.model.lm import LM
from yaongi.model.quantized import Scheme, parameter_name, quantized_weights, repacked
from yaongi.ops.quant.int4 import dequantize_groups, quantize_groups
from yaongi.ops.quant.int8 import dequantize_rows, quantize_rows
from yaongi.text.tokenizer import Tokenizer

INT8, INT4 = Scheme(to="int8"), Scheme(to="int4")
SCHEMES = pytest.mark.parametrize("scheme", [INT8, INT4], ids=lambda s: s.to)
IDS = torch.randint(80, 400, (3, 24), generator=torch.Generator().manual_seed(0))


def model_folder(path: Path, model: LM) -> Path:
    save_model(model, path)
    tiny.tokenizer().save(path)
    return path


def swiglu(cfg: dict) -> None:
    for name in ("mlp", "moe"):
        cfg[name]["activation"] = "swiglu"


@pytest.fixture(scope="module")
def model():
    """Every layer kind, Engram, and an untied head."""
    cfg = tiny.lm("M*-E", engram=tiny.ENGRAM).cfg.model_dump()
    swiglu(cfg)
    cfg |= {"tied": False}
    cfg["attention"]["bias"] = "qkvo"
    return LM(type(tiny.lm().cfg).model_validate(cfg)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    return model_folder(tmp_path_factory.mktemp("plain") / "model", model)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, folder):
    """Scheme -> its artifact."""
    place = tmp_path_factory.mktemp("quantized")
    return {s.to: quantize(folder, place / s.to, s) for s in (INT8, INT4)}


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path / quantized_io.PART.format(0))


def logits(lm: LM) -> torch.Tensor:
    with torch.no_grad():
        return lm.logits(lm(IDS).hidden)


@SCHEMES
def test_matrices_become_integers_and_the_rest_stays_to_the_bit(quantized, folder, model, scheme):
    found, before = (
        tensors_of(quantized[scheme.to].path),
        read_tensors(folder / "model.safetensors"),
    )
    kept = {n for n in before if n in found}
    for name in kept:
        assert found[name].dtype == before[name].dtype
        assert found[name].numpy().tobytes() == before[name].numpy().tobytes()
    expected = {n for n, _ in model.named_parameters()} - kept
    assert {n.rpartition(".")[2] for n in expected} == {
        "weight", "up_proj", "down_proj", "gate_proj"
    }  # fmt: skip
    words = ("norm", "conv", "bias", "A_log", ".D", "gate.weight", "multipliers", "canonical")
    for word in words:
        assert any(word in name for name in kept), word
        assert not any(word in name for name in expected), word
    assert not any(before[name].dim() > 1 for name in kept - CONVOLUTIONS - ROUTERS)


CONVOLUTIONS = {
    "layers.0.mixer.conv1d.weight",
    "layers.0.engram.conv",
    "layers.1.engram.conv",
}
ROUTERS = {"layers.3.mixer.gate.weight"}


@SCHEMES
def test_what_is_loaded_is_what_the_quantizer_made(quantized, model, scheme):
    before = model.state_dict()
    held = dict(quantized_weights(yaongi.load(quantized[scheme.to].path).lm))
    int4 = [path for path, holder in held.items() if hasattr(holder, "packed")]
    for path, holder in held.items():
        weight = before[parameter_name(path)]
        if path in int4:
            filled = torch.nn.functional.pad(weight, (0, 0, 0, -weight.shape[-2] % 16))
            expected = dequantize_groups(
                *quantize_groups(filled, 32 if weight.shape[-1] % 64 else 64)
            )
            expected = expected[..., : weight.shape[-2], :]
        else:
            expected = dequantize_rows(*quantize_rows(weight))
        assert torch.equal(holder.matrix(), expected), path
    tables = [p for p in held if "table" in p or p.startswith("lm_head")]
    assert len(tables) == 4
    assert not set(int4) & set(tables)
    assert bool(int4) == (scheme is INT4)


@SCHEMES
@pytest.mark.parametrize("pattern", ["M", "*", "-", "E", "M*-E"])
def test_a_layer_is_that_of_the_widened_matrices(tmp_path, pattern, scheme):
    """Besides, x is rounded: to 8 bits by rows where products are int8, else to bfloat16."""
    plain = tiny.lm(pattern, std=0.1).eval()
    made = quantize(model_folder(tmp_path / "m", plain), tmp_path / "q", scheme)
    narrow = yaongi.load(made.path).lm
    matrices = {parameter_name(p): h.matrix() for p, h in quantized_weights(narrow)}
    plain.load_state_dict(plain.state_dict() | matrices)
    found, expected = logits(narrow), logits(plain)
    assert (found - expected).std() < 0.02 * expected.std()


@SCHEMES
def test_rows_alone_are_rows_together_to_the_bit(quantized, scheme):
    lm, tokenizer = yaongi.load(quantized[scheme.to].path).lm, tiny.tokenizer()
    rules = Generation(max_tokens=6, temperature=1.0)
    prompts = [[0, *IDS[i % 3, : 5 + 3 * i].tolist()] for i in range(5)]
    requests = [Request(prompt, rules, i) for i, prompt in enumerate(prompts)]
    together = Engine(lm, tokenizer).complete(requests)
    alone = [Engine(lm, tokenizer).complete([r])[0] for r in requests]
    assert together == alone


@SCHEMES
def test_a_manifest_says_how_it_was_made(quantized, scheme):
    m = quantized[scheme.to].manifest
    assert (m.kind, m.config["to"]) == ("quantized", scheme.to)
    assert set(m.config) == {"to", "groups", "layout", "isa", "seq_len"}
    parts = m.counts["kept"] + m.counts["int8"] + m.counts.get("int4", 0)
    assert parts > m.counts["int8"] > 0
    assert m.counts["bytes"] == m.files[quantized_io.PART.format(0)].bytes
    assert {"config.json", "tokenizer.json"} < set(m.files)


def forged(source: Path, out: Path, **config: str) -> Path:
    """A copy whose manifest says something else, with hashes that fit its files."""
    out.mkdir()
    for file in source.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return resign(out, **config)


def resign(out: Path, **config: str | None) -> Path:
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["config"] |= config
    manifest["config"] = {k: v for k, v in manifest["config"].items() if v != "none"}
    for name, entry in manifest["files"].items():
        entry |= {"bytes": (out / name).stat().st_size, "sha256": sha256_file(out / name)}
    (out / MANIFEST).write_text(json.dumps(manifest))
    return out


@pytest.mark.parametrize("elsewhere", ["int4pack/avx2", "int4pack/avx512", "rows/any"])
def test_another_machines_layout_is_repacked(quantized, tmp_path, elsewhere, caplog):
    here = quantized["int4"]
    layout = f"{here.manifest.config['layout']}/{here.manifest.config['isa']}"
    tensors = tensors_of(here.path)
    for name, tensor in tensors.items():
        if name.endswith(".packed"):
            tensors[name] = repacked(tensor, layout, elsewhere)
    place, _, isa = elsewhere.partition("/")
    out = forged(here.path, tmp_path / "q")
    write_tensors(out / quantized_io.PART.format(0), tensors)
    resign(out, layout=place, isa=isa)
    with caplog.at_level("INFO"):
        found = yaongi.load(out)
    assert ("repacked" in caplog.text) == (elsewhere != layout)
    assert torch.equal(logits(found.lm), logits(yaongi.load(here.path).lm))


def test_an_unknown_layout_names_the_nearest(quantized, tmp_path):
    out = forged(quantized["int4"].path, tmp_path / "q", isa="avx51")
    with pytest.raises(CheckpointError, match=r"'int4pack/avx51'.*int4pack/avx512"):
        yaongi.load(out)


def test_a_manifest_without_its_scheme_is_refused(quantized, tmp_path):
    out = forged(quantized["int4"].path, tmp_path / "q", layout="none")
    with pytest.raises(ArtifactError, match=r"manifest\.json.*no 'layout'"):
        yaongi.load(out)
    out = forged(quantized["int4"].path, tmp_path / "r", to="int3")
    with pytest.raises(ConfigError, match="int3"):
        yaongi.load(out)


@pytest.mark.parametrize("hashed", [quantized_io.HASHED_BYTES, 0])
def test_a_file_cut_short_is_named(quantized, tmp_path, monkeypatch, hashed):
    monkeypatch.setattr(quantized_io, "HASHED_BYTES", hashed)
    out = forged(quantized["int4"].path, tmp_path / "q")
    part = out / quantized_io.PART.format(0)
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"quantized-00000\.safetensors is damaged"):
        yaongi.load(out)
    with pytest.raises(CheckpointError, match="cut short"):
        yaongi.load(resign(out))
    part.unlink()
    with pytest.raises(ArtifactError, match=r"quantized-00000\.safetensors is missing"):
        yaongi.load(out)


def test_a_changed_byte_is_noticed(quantized, tmp_path):
    out = forged(quantized["int8"].path, tmp_path / "q")
    part = out / quantized_io.PART.format(0)
    data = bytearray(part.read_bytes())
    data[-100] ^= 1
    part.write_bytes(data)
    with pytest.raises(ArtifactError, match="sha256"):
        yaongi.load(out)


def test_weights_nobody_recorded_are_refused(quantized, tmp_path):
    out = forged(quantized["int8"].path, tmp_path / "q")
    write_tensors(out / quantized_io.PART.format(9), {"norm_f.weight": torch.zeros(32)})
    with pytest.raises(ArtifactError, match=r"quantized-00009\.safetensors is not of this model"):
        yaongi.load(out)


@pytest.mark.parametrize(
    "written",
    ["[]", "null", '{"letters": [1]}', '{"letters": {"Q": 5}}', "[" * 100_000,
     lambda cfg: cfg | {"d_model": 2**70}, lambda cfg: cfg | {"vocab_size": 10**15}],
)  # fmt: skip
def test_a_config_that_is_none_is_named(quantized, tmp_path, written):
    out = forged(quantized["int8"].path, tmp_path / "q")
    path = out / "config.json"
    if callable(written):
        written = json.dumps(written(json.loads(path.read_text())))
    path.write_text(written)
    with pytest.raises(YaongiError, match=r"config\.json|config expects"):
        yaongi.load(resign(out))


def test_tensors_that_are_not_the_models_are_named(quantized, tmp_path):
    out = forged(quantized["int4"].path, tmp_path / "q")
    part, name = out / quantized_io.PART.format(0), "layers.2.mixer.down_proj.weight.packed"
    tensors = tensors_of(out)
    for changed, message in [
        ({name: tensors[name].to(torch.int8)}, f"{name} is of torch.int8"),
        ({name: tensors[name][:-1]}, name),
        ({"more": torch.zeros(1)}, "more"),
    ]:
        write_tensors(part, tensors | changed)
        with pytest.raises(CheckpointError, match=message):
            yaongi.load(resign(out))
    del tensors[name]
    write_tensors(part, tensors)
    with pytest.raises(CheckpointError, match=f"lacks the tensor {name}"):
        yaongi.load(resign(out))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    model = tiny.lm("-")
    with torch.no_grad():
        model.get_parameter("layers.0.mixer.up_proj.weight")[3, 4] = torch.inf
    source = model_folder(tmp_path / "m", model)
    with pytest.raises(CheckpointError, match=r"layers\.0\.mixer\.up_proj\.weight"):
        quantize(source, tmp_path / "q", INT4)
    assert not (tmp_path / "q").exists()


def test_it_is_not_quantized_twice_nor_adapted(quantized, tmp_path):
    with pytest.raises(ArtifactError, match="is a 'quantized' artifact"):
        quantize(quantized["int8"].path, tmp_path / "q", INT4)
    with pytest.raises(ConfigError, match="yaongi merge"):
        yaongi.load(quantized["int8"].path, adapter=tmp_path)


def test_the_same_again_is_the_same_artifact(quantized, folder):
    for scheme in (INT8, INT4):
        made = quantized[scheme.to]
        assert quantize(folder, made.path, scheme).hash == made.hash


def test_weights_in_bfloat16_keep_their_own(tmp_path):
    """And run in float32, like those of any model here."""
    plain = tiny.lm().to(torch.bfloat16)
    made = quantize(model_folder(tmp_path / "m", plain), tmp_path / "q", INT4)
    assert tensors_of(made.path)["norm_f.weight"].dtype == torch.bfloat16
    found = yaongi.load(made.path, dtype="fp32").lm
    assert found.norm_f.weight.dtype == torch.float32
    wide = load_model(tmp_path / "m", dtype=torch.float32)
    assert (
        torch.corrcoef(torch.stack([logits(found).flatten(), logits(wide).flatten()]))[0, 1] > 0.8
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """(shards, a model of kind base made from them)."""
    place = tmp_path_factory.mktemp("road")
    shards, tokenizer = tiny_run.shards(place)
    with draft(place / "base", "base", config={"seq_len": 64}, parents=[shards]) as work:
        save_model(tiny.lm(std=0.05), work.path)
        Tokenizer.load(tokenizer.path).save(work.path)
        base = work.finish()
    return shards, base


def test_divergence_of_a_model_from_itself_is_nothing(road):
    shards, base = road
    lm = load_model(base.path)
    for domain in ("ko", "math"):
        found = divergence(lm, lm, Shards(shards), domain, max_tokens=300, seq_len=64)
        assert found.kl == 0
        assert found.more == 0
        assert found.targets > 100


def test_the_verb_compares_and_others_take_its_result(road, tmp_path, capsys):
    _shards, base = road
    out = tmp_path / "q"
    argv = ["quantize", str(base.path), "--to", "int8", "--out", str(out), "--tokens", "300"]
    assert run([*argv, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["metrics"]) == {
        f"{kind}/{domain}" for kind in ("bpb", "bpb_more", "kl") for domain in ("ko", "math")
    }
    assert 0 < result["metrics"]["kl/ko"] < 0.01
    made = open_artifact(out, "quantized")
    assert made.manifest.metrics == result["metrics"]
    assert made.manifest.parents[0].hash == base.hash
    assert made.manifest.licences == ["CC0-1.0"]
    assert yaongi.load(out).context_len == 64
    assert run(["generate", str(out), "--prompt", "철수", "--max-tokens", "3"]) == 0
    report = ["eval", str(out), "--tasks", "bpb", "--out", str(tmp_path / "report"), "--json"]
    capsys.readouterr()
    assert run(report) == 0
    bpb = json.loads(capsys.readouterr().out)["metrics"]["bpb/ko"]
    assert bpb == pytest.approx(result["metrics"]["bpb/ko"], rel=0.05)
    assert run([*argv[:-1], "0", "--json"]) == 0  # the same again, whatever it is compared on


def test_a_model_in_few_bits_is_told_apart_where_it_cannot_do_something(
    road, tmp_path, capsys, monkeypatch
):
    _shards, base = road
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    path = quantize(base.path, tmp_path / "int8", INT8).path
    assert run(["chat", str(path)]) == 0
    assert "has not learnt to converse" in capsys.readouterr().err
    with pytest.raises(ArtifactError, match=r"did you mean .*int8"):
        yaongi.load(path.parent)
    with pytest.raises(ConfigError, match=f"export {re.escape(str(base.path))} --to gguf"):
        yaongi.load(path, engine="llamacpp")


def test_an_interrupted_comparison_keeps_the_model(road, tmp_path, capsys, monkeypatch):
    """And what was measured; the same command then measures the rest, and edits nothing."""
    _shards, base = road
    out = tmp_path / "q"
    argv = ["quantize", str(base.path), "--to", "int8", "--out", str(out), "--tokens", "300"]

    def stopped(*args, **settings):
        if args[3] == "math":
            raise KeyboardInterrupt
        return divergence(*args, **settings)

    monkeypatch.setattr(verb, "divergence", stopped)
    assert run(argv) == 130
    assert "is whole and stays" in capsys.readouterr().err
    written = (out / MANIFEST).read_bytes()
    assert {n.rpartition("/")[2] for n in open_artifact(out, "quantized").manifest.metrics} == {
        "ko"
    }
    assert yaongi.load(out).context_len == 64
    monkeypatch.setattr(verb, "divergence", divergence)
    assert run([*argv, "--json"]) == 0
    assert {"kl/ko", "kl/math"} <= set(json.loads(capsys.readouterr().out)["metrics"])
    assert (out / MANIFEST).read_bytes() == written


def test_interrupted_before_it_is_written_nothing_stays(folder, tmp_path, monkeypatch):
    def stopped(*_args, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("yaongi.interop.quantize.write_quantized", stopped)
    assert run(["quantize", str(folder), "--to", "int8", "--out", str(tmp_path / "q")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_it_shows_before_and_after_of_size_and_loss(road, tmp_path, capsys):
    _shards, base = road
    argv = ["quantize", str(base.path), "--to", "int4", "--out", str(tmp_path / "q")]
    assert run([*argv, "--tokens", "300"]) == 0
    said = capsys.readouterr()
    assert "comparison" in said.err
    head, weights, *domains = [
        r for r in said.out.splitlines() if r.startswith("|") and "--" not in r
    ]
    assert head == "|  | before | after | change | KL |"
    m = open_artifact(tmp_path / "q").manifest
    sizes = human_bytes(m.counts["bytes_before"]), human_bytes(m.counts["bytes"])
    assert " | ".join(sizes) in weights
    assert m.counts["bytes_before"] == (base.path / "model.safetensors").stat().st_size
    assert [row.split(",")[0] for row in domains] == ["| ko", "| math"]
    d = divergence(load_model(base.path), yaongi.load(tmp_path / "q").lm, Shards(_shards), "ko",
                   max_tokens=300)  # fmt: skip
    assert f"{d.reference_bpb:.4f} | {d.bpb:.4f} | {d.more:+.2%} | {d.kl:.5f}" in domains[0]


@pytest.mark.parametrize(
    "argv",
    [
        ["quantize", "{file}", "--to", "int8", "--out", "{out}"],
        ["export", "{file}", "--to", "hf", "--out", "{out}"],
        ["export", "{file}", "--to", "gguf", "--out", "{out}"],
        ["eval", "{file}", "--out", "{out}"],
        ["push", "{file}", "me/model", "--dry-run"],
        ["trace", "{file}"],
    ],
    ids=lambda argv: "-".join(argv[:1] + argv[3:4]),
)
def test_a_file_of_a_model_is_not_its_folder(argv, folder, tmp_path, capsys):
    place = {"file": folder / "model.safetensors", "out": tmp_path / "out"}
    assert run([word.format(**place) for word in argv]) == 2
    said = capsys.readouterr().err
    assert "error[artifact]" in said and f"Did you mean its folder, {folder}?" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["quantize", "--to", "int8"], ["export", "--to", "gguf"]])
def test_a_model_that_is_not_there_yet_is_told(argv, tmp_path, capsys):
    (tmp_path / "bases").mkdir()
    out = ["--out", str(tmp_path / "out")]
    assert run([*argv, str(tmp_path / "base"), *out]) == 2
    assert f"Did you mean '{tmp_path / 'bases'}'?" in capsys.readouterr().err
    (tmp_path / "base.partial").mkdir()
    assert run([*argv, str(tmp_path / "base"), *out]) == 2
    assert "the command that makes it has not finished" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_held_out_text_of_another_tokenizer_is_refused(road, tmp_path, capsys):
    _shards, base = road
    other = tiny.road(tmp_path / "other")["shards"]
    argv = ["quantize", str(base.path), "--to", "int8", "--out", str(tmp_path / "q")]
    assert run([*argv, "--input", str(other.path)]) == 2
    assert "another tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
