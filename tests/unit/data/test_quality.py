"""A quality model learns what sets examples apart, says how well, and comes back from disk."""

import json

import numpy as np
import pytest
from ruamel.yaml import YAML

from yaongi.cli.main import run
from yaongi.core.artifact import open_artifact
from yaongi.core.config import parse
from yaongi.core.errors import ArtifactError, DataError
from yaongi.core.intervals import wilson
from yaongi.core.seeds import Seed
from yaongi.data.corpus import CorpusConfig
from yaongi.data.filters.quality import Quality
from yaongi.data.quality import SETTINGS, SHAPE, WEIGHTS, QualityModel, shape
from yaongi.data.train_quality import (
    QualityConfig,
    auc,
    calibration_error,
    train_quality,
)

WHO = ["정부는", "학교는", "연구소는", "시민들은", "위원회는", "협회는", "도서관은"]
WHAT = ["계획을", "보고서를", "제도를", "교육을", "행사를", "조사를", "연구를"]
DO = ["발표하였다.", "마련하였다.", "개선하였다.", "시작하였다.", "검토하였다.", "마쳤다."]
NOISE = ["대박", "ㅋㅋㅋ", "클릭!!", "공짜", "ㅠㅠ", "헐~", "가즈아", "!!!", "쩐다", "링크^^"]
GOOD = "지난 화요일 위원회는 새로운 제도를 마련하였다. 시민들은 이를 검토하였다."
BAD = "헐~ 대박 ㅋㅋㅋ 이거 공짜 클릭!! 가즈아 ㅠㅠ"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("quality")
    draw = np.random.default_rng(0)
    for name, words in {"good": (WHO, WHAT, DO), "bad": (NOISE,) * 6}.items():
        with (path / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            for _ in range(150):
                text = " ".join(str(draw.choice(part)) for _ in range(3) for part in words)
                out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return path


def config(folder, **settings):
    settings = {"good": ["good.jsonl"], "bad": ["bad.jsonl"], "bits": 12, **settings}
    return QualityConfig(root=str(folder), **settings)


@pytest.fixture(scope="module")
def trained(folder):
    return train_quality(config(folder), folder / "model", Seed(0))


def test_it_tells_texts_apart_that_it_never_saw(trained):
    metrics = trained.manifest.metrics
    assert metrics["auc"] > 0.99 and metrics["accuracy"] > 0.95
    assert metrics["auc_95"][0] <= metrics["auc"] <= metrics["auc_95"][1]
    model = QualityModel.load(trained.path)
    assert model.score(GOOD) > 0.8 > 0.2 > model.score(BAD)
    assert metrics["by_source"]["good.jsonl"]["mean_score"] > 0.5
    assert trained.manifest.counts == {"learnt": 270, "judged": 30}


def test_labels_that_mean_nothing_are_reported_as_such(folder):
    """The other way round: a model of nothing must not look good."""
    lines = (folder / "good.jsonl").read_text(encoding="utf-8").splitlines()
    for name, part in {"odd": lines[::2], "even": lines[1::2]}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(part), encoding="utf-8")
    made = train_quality(
        config(folder, good=["odd.jsonl"], bad=["even.jsonl"], heldout=0.3),
        folder / "nothing",
        Seed(0),
    )
    assert made.manifest.metrics["auc_95"][0] < 0.5 < made.manifest.metrics["auc_95"][1]


def test_the_same_seed_gives_the_same_model(folder, trained):
    again = train_quality(config(folder), folder / "again", Seed(0))
    assert again.hash == trained.hash
    other = train_quality(config(folder), folder / "other", Seed(1))
    assert other.hash != trained.hash


def test_no_label_leaks_what_is_judged_was_not_learnt(folder, trained, monkeypatch):
    import yaongi.data.train_quality as stage

    seen = []
    real = stage.Examples
    monkeypatch.setattr(
        stage, "Examples", lambda model, texts: seen.append(texts) or real(model, texts)
    )
    train_quality(config(folder), folder / "watched", Seed(0))
    learnt, judged = seen
    assert not set(learnt) & set(judged)


def test_the_filter_tags_and_drops_below_the_limit(trained, folder):
    tag = Quality(model="model").at(folder)
    assert tag.clean(BAD).drop == ""
    assert tag.clean(BAD).tags["quality"] < 0.2
    limit = Quality(model="model", min=0.5).at(folder)
    assert (limit.clean(BAD).drop, limit.clean(GOOD).drop) == ("low quality", "")
    assert limit.fingerprint() == trained.hash


def test_every_text_has_a_score(trained):
    model = QualityModel.load(trained.path)
    for text in ["", " ", "가", "\ud800", "a" * 100_000, "ㅋ", "\n\n", "𝕏 👍🏽"]:
        assert 0 < model.score(text) < 1
        assert np.isfinite(shape(text)).all() and len(shape(text)) == len(SHAPE)


def test_a_folder_that_is_no_model_or_of_another_version_is_refused(trained, folder, tmp_path):
    with pytest.raises(ArtifactError, match="model"):
        Quality(model="modell").at(folder).clean("")
    settings = json.loads((trained.path / SETTINGS).read_text())
    (tmp_path / WEIGHTS).write_bytes((trained.path / WEIGHTS).read_bytes())
    (tmp_path / SETTINGS).write_text(json.dumps({**settings, "shape": ["smell"]}))
    with pytest.raises(ArtifactError, match="train it again"):
        QualityModel.load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"cut short")
    with pytest.raises(ArtifactError, match="is no quality model"):
        QualityModel.load(tmp_path)


def test_a_class_of_too_few_texts_is_refused(folder):
    (folder / "few.jsonl").write_text('{"text": "하나"}\n{"text": "하나"}\n')
    with pytest.raises(DataError, match=r"few\.jsonl holds 1 different"):
        train_quality(config(folder, bad=["few.jsonl"]), folder / "few", Seed(0))


def test_the_verb_trains_one_and_prints_how_well_it_does(folder, capsys):
    arguments = ["--good", str(folder / "good.jsonl"), "--bad", str(folder / "bad.jsonl")]
    out = folder / "verb"
    assert run(["data", "quality", *arguments, "--out", str(out), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics == open_artifact(out, "quality").manifest.metrics
    assert metrics["auc"] > 0.99


def test_the_verb_says_how_a_recipe_takes_the_model(folder, capsys):
    arguments = ["--good", str(folder / "good.jsonl"), "--bad", str(folder / "bad.jsonl")]
    assert run(["data", "quality", *arguments, "--out", str(folder / "verb")]) == 0
    setting = capsys.readouterr().out.splitlines()[-1].partition("recipe: ")[2]
    filters = YAML(typ="safe").load(setting.partition(" (")[0])["filters"]
    cfg = parse(CorpusConfig, {"sources": ["synthetic"], "filters": filters})
    last = cfg.filters[-1]
    assert isinstance(last, Quality) and last.min == 0.3
    assert last.model == str((folder / "verb").resolve())


def test_known_values_of_the_measures():
    good, bad = np.asarray([0.9, 0.8, 0.3]), np.asarray([0.1, 0.3])
    assert auc(good, bad)[0] == pytest.approx((2 + 2 + 1.5) / 6)
    assert auc(good, bad + 1)[0] == 0
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    scores, label = np.asarray([0.25] * 4), np.asarray([0, 0, 0, 1.0])
    assert calibration_error(scores, label, np.ones(4)) == 0
    assert calibration_error(scores, 1 - label, np.ones(4)) == pytest.approx(0.5)
