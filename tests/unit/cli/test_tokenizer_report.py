"""What `yaongi tokenizer report` measures on, and how it says so."""

import json
import xml.etree.ElementTree as ElementTree

import foreign_tokenizers
import pytest
import tiny_run
from text_sample import TEXTS, tokenizer

from yaongi.cli.main import run
from yaongi.data.synthetic import DOMAINS


@pytest.fixture
def folder(tmp_path):
    tokenizer().save(tmp_path / "ours")
    foreign_tokenizers.make(tmp_path / "theirs", None)
    (tmp_path / "뉴스.txt").write_text("\n".join(TEXTS), "utf-8")
    return tmp_path


def told(capsys, *args):
    code = run(["tokenizer", "report", *map(str, args)])
    return code, capsys.readouterr()


def test_the_embedded_corpus_is_named_when_nothing_else_is_there(folder, capsys):
    code, out = told(capsys, folder / "ours", "--json")
    found = json.loads(out.out)
    assert code == 0
    assert "embedded corpus" in found["text"]
    (each,) = found["tokenizers"].values()
    assert set(each["domains"]) == set(DOMAINS)


def test_the_held_out_text_of_its_corpus_is_the_default(tmp_path, capsys):
    _, made = tiny_run.shards(tmp_path)
    code, out = told(capsys, made.path, "--json")
    found = json.loads(out.out)
    assert code == 0
    assert found["text"] == f"held out of {tmp_path / 'corpus'}"
    _, again = told(capsys, made.path, "--data", tmp_path / "corpus", "--json")
    assert json.loads(again.out)["tokenizers"] == found["tokenizers"]


def test_tokenizers_stand_side_by_side_as_table_and_plot(folder, capsys):
    plot = folder / "plot.svg"
    code, out = told(capsys, folder / "ours", "--against", folder / "theirs",
                     "--data", folder / "뉴스.txt", "--plot", plot)  # fmt: skip
    assert code == 0
    for word in ("ours", "theirs", "뉴스", "tokens/eojeol", "2,350", "Text: "):
        assert word in out.out
    texts = [e.text for e in ElementTree.parse(plot).iter() if e.tag.endswith("text")]
    assert {"뉴스", str(folder / "theirs")} <= set(texts)


def test_files_of_one_name_are_kept_apart(folder, capsys):
    (folder / "more").mkdir()
    (folder / "more" / "뉴스.txt").write_text("다른 글", "utf-8")
    _, out = told(capsys, folder / "ours", "--data", folder / "뉴스.txt",
                  "--data", folder / "more/뉴스.txt", "--json")  # fmt: skip
    (each,) = json.loads(out.out)["tokenizers"].values()
    assert len(each["domains"]) == 2


def test_bad_input_is_explained(folder, capsys):
    (folder / "leer.txt").write_text("", "utf-8")
    (folder / "clash").mkdir()
    spec = json.loads((folder / "ours/tokenizer.json").read_text("utf-8"))
    spec["model"]["vocab"] |= {"<|pad|>": 0, "<|endoftext|>": 1}
    spec["added_tokens"][0]["id"], spec["added_tokens"][1]["id"] = 1, 0
    (folder / "clash/tokenizer.json").write_text(json.dumps(spec), "utf-8")
    settings = (folder / "ours/tokenizer_config.json").read_text("utf-8")
    (folder / "clash/tokenizer_config.json").write_text(settings, "utf-8")
    for args, reason in [
        ([folder / "nowhere"], "tokenizer.json is missing"),
        ([folder / "clash"], "the id of <|endoftext|> is not 0"),
        ([folder / "ours", "--data", folder / "no.txt"], "no.txt"),
        ([folder / "ours", "--data", folder / "leer.txt"], "leer"),
        ([folder / "ours", "--plot", folder / "plot.png"], "give such a name"),
    ]:
        code, out = told(capsys, *args)
        assert code == 2, args
        assert reason in out.err, out.err
