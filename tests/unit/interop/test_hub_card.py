"""The card: well-formed, in both languages, with every licence, and nothing a stranger put in."""

from __future__ import annotations

import json

import pytest
import tiny_hub
import yaml
from markdown_it import MarkdownIt

from yaongi.core.artifact import MANIFEST, Ancestor, draft, open_artifact
from yaongi.core.files import write_json
from yaongi.interop.hub import plan_push
from yaongi.interop.hub_client import Repo
from yaongi.interop.hub_licence import hub_names
from yaongi.interop.hub_parcel import pack
from yaongi.interop.loss import Loss
from yaongi.interop.quantize import quantize
from yaongi.model.quantized import Scheme

REPO = Repo("me/small")
KINDS = ["base", "corpus", "tokenizer", "hf", "gguf", "export", "adapter", "peft"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_hub.artifacts(tmp_path_factory.mktemp("made"))


def card(path, **options):
    return plan_push(path, REPO, **options).texts["README.md"].decode()


def parts(text):
    """(metadata, tokens of the Markdown)."""
    _empty, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), MarkdownIt("gfm-like", {"linkify": False}).parse(body)


def of(tokens, kind):
    inner = [child for token in tokens for child in token.children or []]
    return [token for token in [*tokens, *inner] if token.type == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_card_is_whole_in_both_languages(kind, made):
    meta, tokens = parts(card(made[kind]))
    assert meta["language"] == ["ko", "en"]
    assert {"yaongi", "korean"} <= set(meta["tags"])
    titles = [
        tokens[i + 1].content for i, t in enumerate(tokens) if t.tag == "h2" and t.nesting == 1
    ]
    assert titles[:2] == ["한국어", "English"]
    code = "".join(token.content for token in of(tokens, "fence"))
    assert "yaongi pull" in code and "me/small" in code
    assert not of(tokens, "html_block") and not of(tokens, "html_inline")


@pytest.mark.parametrize(
    "kind, meta",
    [
        ("base", {"library_name": "yaongi", "pipeline_tag": "text-generation"}),
        ("hf", {"library_name": "transformers", "pipeline_tag": "text-generation"}),
        ("export", {"library_name": "llama.cpp", "pipeline_tag": "text-generation"}),
        ("peft", {"library_name": "peft", "pipeline_tag": "text-generation"}),
        ("tokenizer", {"library_name": "tokenizers"}),
        ("corpus", {"license": "cc0-1.0", "task_categories": ["text-generation"]}),
    ],
)
def test_the_metadata_say_what_it_is(kind, meta, made):
    assert parts(card(made[kind]))[0].items() >= meta.items()


@pytest.mark.parametrize(
    "kind, command",
    [
        ("base", "yaongi generate small"),
        ("hf", "vllm serve me/small"),
        ("hf", 'AutoModelForCausalLM.from_pretrained("me/small")'),
        ("export", "llama-server -hf me/small"),
        ("adapter", "--adapter small"),
        ("peft", 'PeftModel.from_pretrained(model, "me/small")'),
        ("tokenizer", 'Tokenizer.from_pretrained("me/small")'),
        ("corpus", 'load_dataset("me/small"'),
    ],
)
def test_it_says_how_to_run_it(kind, command, made):
    assert card(made[kind]).count(command) == 2  # in both languages


def test_python_in_a_card_is_python(made):
    for kind in KINDS:
        for token in of(parts(card(made[kind]))[1], "fence"):
            if token.info == "python":
                compile(token.content, kind, "exec")


def quantized(made, out, **found):
    """The base in 4 bits, with ``found`` measured of it."""
    return quantize(
        made["base"],
        out,
        Scheme(to="int4"),
        measure=lambda _lm: Loss("ko", **found).as_metrics().items() if found else {},
    )


def test_a_quantized_card_says_what_it_is_and_what_it_has_cost(made, tmp_path):
    done = quantized(made, tmp_path / "q", bpb=2.02, more=0.01, kl=0.003)
    text = card(done.path)
    meta, _tokens = parts(text)
    assert {"quantized", "4-bit"} <= set(meta["tags"]) and "base_model_relation" not in meta
    parent = open_artifact(made["base"])
    whole = pack(made["base"]).parameters
    assert pack(done.path).parameters == whole
    for told in ("매개변수", "parameters"):
        assert f"- {told}: {whole:,}" in text
    assert text.count(parent.hash[:12]) == 2
    assert f"int4: {done.manifest.counts['int4']:,}" in text
    assert text.count("| ko | 2.0000 | 2.0200 | +1.00% | 0.00300 |") == 2
    assert "4비트" in text and "in 4 bits" in text


def test_a_quantized_card_without_a_comparison_says_so(made, tmp_path):
    text = card(quantized(made, tmp_path / "q").path)
    assert "It was not measured." in text and "| held-out text" not in text


def test_a_quantized_model_of_the_hub_names_it(made, tmp_path):
    done = quantized(made, tmp_path / "q").path
    meta = parts(card(done, base_model="me/whole"))[0]
    assert (meta["base_model"], meta["base_model_relation"]) == ("me/whole", "quantized")
    manifest = json.loads((done / MANIFEST).read_text("utf-8"))
    manifest["parents"][0]["origin"] = "hf://you/model@" + "a" * 40
    (done / MANIFEST).write_text(json.dumps(manifest))
    meta = parts(card(done))[0]
    assert (meta["base_model"], meta["base_model_relation"]) == ("you/model", "quantized")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_can_type_what_it_says(kind, made):
    """yaongi is on no package index: a name there would be whoever's took it."""
    text = card(made[kind])
    assert "pip install yaongi" not in text and 'pip install "yaongi' not in text
    assert "pip install -c constraints.txt -e '.[hub]'" in text
    assert "clone of yaongi's repository" in text and "저장소" in text


def parents_of(path, nodes):
    manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    manifest["parents"] = [node.model_dump() for node in nodes]
    (path / MANIFEST).write_text(json.dumps(manifest))


def model(folder, *nodes):
    """A model of these parents."""
    import numpy as np
    from safetensors.numpy import save_file

    with draft(folder, "base", config={"seq_len": 64}) as work:
        save_file({"w": np.zeros((2, 3), np.float32)}, work.path / "model.safetensors")
        write_json(work.path / "config.json", {"pattern": "M*"})
        work.finish()
    parents_of(folder, nodes)
    return folder


def source(name, *licences, **more):
    return Ancestor(kind="source", path=name, hash=name, licences=list(licences), **more)


def test_every_licence_and_source_of_the_ancestry_is_there_once(tmp_path):
    corpus = Ancestor(kind="corpus", path="/x/corpus", hash="c", licences=["MIT", "CC-BY-SA-4.0"],
                      parents=[source("a.jsonl", "MIT"), source("위키.jsonl", "CC-BY-SA-4.0"),
                               source("hf:who/what:ko", "ODC-BY")])  # fmt: skip
    shards = Ancestor(kind="shards", path="/x/shards", hash="s", parents=[corpus])
    text = card(model(tmp_path / "m", shards, corpus))
    meta, tokens = parts(text)
    cells = [t.content for i, t in enumerate(tokens) if tokens[i - 1].type == "td_open"]
    assert cells == ["a.jsonl", "MIT", "위키.jsonl", "CC-BY-SA-4.0", "hf:who/what:ko", "ODC-BY"]
    assert meta["datasets"] == ["who/what"]


def test_what_a_manifest_quotes_stays_text(tmp_path):
    evil = [
        "<script>alert(1)</script>",
        "![x](https://evil.example/x.png)",
        "[click](javascript:1)",
        "a | b | c",
        "`code` **bold** \n\n# title",
        "https://evil.example",
        "\u202egnp.exe",
    ]
    nodes = [source(name, name) for name in evil]
    _meta, tokens = parts(card(model(tmp_path / "m", *nodes)))
    for kind in ("html_block", "html_inline", "image", "strong_open"):
        assert not of(tokens, kind), kind
    assert not of(tokens, "link_open")
    assert len(of(tokens, "tr_open")) == 1 + len(evil)
    assert len(of(tokens, "td_open")) == 2 * len(evil)
    shown = "".join(token.content for token in of(tokens, "text"))
    assert "<script>alert(1)</script>" in shown
    assert "\u202e" not in shown


def test_the_terms_of_the_base_model_are_told_in_both_languages(tmp_path):
    base = Ancestor(kind="hub", path="llama", hash="l", licences=["llama3.2"],
                    origin="hf://meta-llama/Llama-3.2-1B@" + "0" * 40)  # fmt: skip
    meta, _tokens = parts(text := card(model(tmp_path / "m", base)))
    assert (meta["base_model"], meta["license"]) == ("meta-llama/Llama-3.2-1B", "llama3.2")
    korean, english = text.split("## English")
    assert "Built with Llama" in english
    assert "Built with Llama" in korean
    assert "0" * 40 in text, "the exact revision"


def scores(folder, subject, value):
    from yaongi.core.artifact import open_artifact

    row = {"name": "bpb/ko", "value": value, "unit": "bits per byte", "better": "lower", "n": 9,
           "counted": "bytes", "low": 1.0, "high": 2.0, "chance": 5.0, "baseline": 1.8,
           "baseline_name": "xz -9", "samples": []}  # fmt: skip
    with draft(folder, "report", config={}, parents=[open_artifact(subject)]) as work:
        write_json(work.path / "report.json", {"scores": [row]})
        work.finish()


def test_results_are_those_of_the_reports_beside_it(tmp_path):
    first = model(tmp_path / "m", source("a", "MIT"))
    other = model(tmp_path / "other", source("b", "MIT"))
    scores(tmp_path / "report", first, 1.2345)
    scores(tmp_path / "others", other, 9.9)
    meta, _tokens = parts(text := card(first))
    result = meta["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "bits_per_byte", "value": 1.2345}]
    assert result["dataset"]["name"] == "bpb/ko"
    assert text.count("1.234") == 1 + 2  # the metadata, and a table per language
    assert "9.9" not in text


def test_the_results_of_a_gguf_file_are_those_of_its_model(made, tmp_path):
    scores(made["base"].parent / "report", made["base"], 3.21)
    text = card(made["gguf"], made_from=made["base"])
    assert text.count("3.210") == 2
    assert "before the conversion" in text


def test_the_same_artifact_gives_the_same_card(made):
    assert card(made["base"]) == card(made["base"])


@pytest.mark.parametrize(
    "licence, names",
    [
        ("CC BY-SA 4.0 (text) / GPL-3 (source)", ["cc-by-sa-4.0", "gpl-3.0"]),
        ("Apache-2.0 (README)", ["apache-2.0"]),
        ("Wikipedia text CC BY-SA (repo Apache-2.0)", ["cc", "apache-2.0"]),
        ("CC-BY-NC-SA-2.0", ["cc-by-nc-sa-2.0"]),
        ("CC BY 4.0", ["cc-by-4.0"]),
        ("CC0", ["cc0-1.0"]),
        ("LGPL-3.0", ["other"]),
        ("ODC-By-1.0", ["odc-by"]),
        ("공공누리 제1유형", ["other"]),
        ("my words", ["other"]),
    ],
)
def test_how_the_hub_calls_a_licence(licence, names):
    assert hub_names([licence]) == names


def test_datasets_reads_a_pushed_corpus_as_its_card_says(made, tmp_path):
    datasets = pytest.importorskip("datasets")
    import shutil

    shutil.copytree(made["corpus"], tmp_path / "corpus")
    (tmp_path / "corpus" / "README.md").write_text(card(made["corpus"]), encoding="utf-8")
    (tmp_path / "corpus" / MANIFEST).unlink()
    found = datasets.load_dataset(str(tmp_path / "corpus"), streaming=True)
    assert set(found) == {"train", "validation"}
    assert "안녕하세요" in str([row["text"] for row in found["train"]])
