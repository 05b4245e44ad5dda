import itertools

import pytest
from text_sample import TEXTS

from yaongi.core.artifact import draft, open_artifact, trace
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, ConfigError, DataError, TokenizerError
from yaongi.text.tokenizer import Tokenizer
from yaongi.text.train import Sample, TokenizerConfig, compression, stage

CFG = TokenizerConfig(vocab_size=400)


def test_the_stage_makes_a_described_artifact(tmp_path):
    with draft(tmp_path / "corpus", "corpus", config={}) as work:
        corpus = work.finish(licences=["CC0-1.0"])
    made = stage(CFG, iter(TEXTS), tmp_path / "tok", parents=[corpus], seed=7)
    assert made.manifest.seed == 7
    assert made.manifest.licences == ["CC0-1.0"]
    assert made.manifest.counts == {
        "documents": len(TEXTS),
        "documents_cut": 0,
        "bytes": sum(len(t.encode()) for t in TEXTS),
        "vocab_size": 400,
    }
    tok = Tokenizer.load(made.path)
    assert tok.hash == Tokenizer.train(TEXTS, 400).hash
    measured = compression(tok, TEXTS)
    assert {k: made.manifest.metrics[k] for k in measured} == measured
    assert [entry.kind for _, entry in trace(made.path)] == ["tokenizer", "corpus"]
    open_artifact(made.path, "tokenizer").verify()


def test_the_same_settings_give_the_same_artifact_and_skip_the_work(tmp_path):
    first = stage(CFG, TEXTS, tmp_path / "a")
    assert stage(CFG, TEXTS, tmp_path / "b").hash == first.hash

    def unread():
        raise AssertionError("the stage was not skipped")
        yield ""

    assert stage(CFG, unread(), tmp_path / "a").hash == first.hash
    with pytest.raises(ArtifactError, match="vocab_size: 400 -> 401"):
        stage(TokenizerConfig(vocab_size=401), TEXTS, tmp_path / "a")


def test_the_sample_is_counted_in_bytes_and_long_documents_are_cut(tmp_path):
    def endless():
        while True:
            yield from TEXTS

    cfg = TokenizerConfig(vocab_size=400, sample_bytes="3kB", max_doc_chars=20)
    counts = stage(cfg, endless(), tmp_path / "t").manifest.counts
    assert 3000 <= counts["bytes"] < 3000 + 20 * 3
    assert counts["documents_cut"] == counts["documents"]


def test_a_failed_stage_leaves_nothing(tmp_path):
    with pytest.raises(TokenizerError, match="Give more text"):
        stage(TokenizerConfig(vocab_size=4000), TEXTS, tmp_path / "t")
    with pytest.raises(TokenizerError, match="lone surrogate"):
        stage(CFG, ["\ud800"], tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
    small = TokenizerConfig(vocab_size=4000, allow_smaller=True)
    assert stage(small, TEXTS, tmp_path / "t").manifest.counts["vocab_size"] < 4000


def test_progress_goes_from_nothing_to_done(tmp_path):
    seen = []
    stage(CFG, TEXTS * 20, tmp_path / "t", on_progress=lambda f, note: seen.append((f, note)))
    fractions = [f for f, _ in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], seen[-1]) == (0, (1.0, "done"))
    assert {note for _, note in seen} >= {"reading the sample", "learning merges", "measuring"}


def test_wrong_settings_are_refused_at_birth():
    for data, reason in [
        ({"vocab_size": 100}, "vocab_size"),
        ({"regex": "gpt-9"}, "regex"),
        ({"mix": {"ko": float("nan")}}, r"mix\.ko"),
        ({"mix": {"ko": "much"}}, r"mix\.ko"),
        ({"mix": {}}, "mix"),
        ({"vocabsize": 400}, "Did you mean 'vocab_size'"),
        ({"sample_bytes": "80 potatoes"}, "80MB|40MB"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            parse(TokenizerConfig, data, where="tokenizer")
    assert parse(TokenizerConfig, {"vocab_size": "8K"}).vocab_size == 8000


def test_compression_counts_bytes_and_syllables():
    bytes_only = Tokenizer.train([], 330)
    assert compression(bytes_only, ["가나 ab"]) == {
        "bytes_per_token": 1.0,
        "tokens_per_syllable": 4.5,  # of the whole line
    }
    assert compression(bytes_only, ["ab"]) == {"bytes_per_token": 1.0}


def test_the_sample_is_not_kept_in_memory(monkeypatch):
    """Of any number of texts only some are kept, evenly from all, to be measured."""
    monkeypatch.setattr("yaongi.text.train._MEASURED_BYTES", 1000)
    sample = Sample(TokenizerConfig(sample_bytes="1MB"), map(str, range(10_000, 60_000)), _quiet)
    read = sum(1 for _ in sample)
    kept = [int(text) for text in sample.spread]
    assert (read, sample.counts["bytes"]) == (50_000, 250_000)
    assert 100 < len(kept) <= 400
    assert len({b - a for a, b in itertools.pairwise(kept)}) == 1
    assert kept[0] == 10_000 and kept[-1] > 59_000


def _quiet(fraction, note):
    pass


def test_no_text_at_all_is_refused(tmp_path):
    for texts in ([], [""]):
        with pytest.raises(DataError, match="no text in the sample"):
            stage(TokenizerConfig(vocab_size=400, allow_smaller=True), texts, tmp_path / "t")
    assert list(tmp_path.iterdir()) == []
