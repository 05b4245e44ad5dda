"""Hub data sets: a local folder in the hub's layout, and a connection that breaks."""

import json

import pytest

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, DataError
from yaongi.data.sources import Reading, hf
from yaongi.data.sources.hf import HFSource
from yaongi.data.wording import said

CARD = """---
configs:
- config_name: default
  data_files: "en.jsonl"
- config_name: korean
  data_files:
  - split: train
    path: "data/ko-*.jsonl"
  - split: test
    path: "data/test.jsonl"
---
# A card
"""


@pytest.fixture
def dataset(tmp_path):
    """Two configs, one of them in two files."""
    folder = tmp_path / "my-data"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    _rows(folder / "en.jsonl", [{"text": "hello"}])
    for part in range(2):
        rows = [{"본문": f"문서 {part * 50 + i}", "id": i} for i in range(50)]
        _rows(folder / "data" / f"ko-{part}.jsonl", rows)
    _rows(folder / "data" / "test.jsonl", [{"본문": "시험", "id": 0}])
    return folder


def _rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def read(root, **settings):
    warnings = []
    source = parse(HFSource, settings)
    documents = list(source.read(Reading(root=root, warn=warnings.append)))
    return [d.text for d in documents], [*map(said, warnings)]


def test_a_local_folder_in_the_hubs_layout(dataset):
    mapped = {"fields": {"text": "본문"}}
    everything = [f"문서 {i}" for i in range(100)]
    assert read(dataset.parent, path="hf:./my-data") == (["hello"], [])
    assert read(dataset.parent, path="hf:./my-data:korean", **mapped) == (everything, [])
    assert read(dataset.parent, path=f"hf:{dataset}:korean", split="test", **mapped)[0] == ["시험"]


def test_caps_stop_and_say_so(dataset):
    settings = {"path": "hf:./my-data:korean", "fields": {"text": "본문"}}
    texts, warnings = read(dataset.parent, max_rows=60, **settings)
    assert len(texts) == 60 and "max_rows" in warnings[0]
    texts, warnings = read(dataset.parent, max_bytes="100B", **settings)
    assert len(texts) == 12 and "max_bytes" in warnings[0]


def test_wrong_names_are_errors_at_once(dataset):
    for path, split in [("hf:./nothing", "train"), ("hf:./my-data:korea", "train"),
                        ("hf:./my-data", "tran")]:  # fmt: skip
        with pytest.raises(DataError, match=path.split(":")[1]):
            read(dataset.parent, path=path, split=split)
    with pytest.raises(DataError, match="leads out"):
        read(dataset, path="hf:../../elsewhere")


def test_the_fingerprint_follows_the_folder(dataset):
    source = HFSource(path=f"hf:{dataset}")
    before = source.fingerprint(dataset.parent)
    _rows(dataset / "en.jsonl", [{"text": "bye, now longer"}])
    assert source.fingerprint(dataset.parent) != before


def test_a_revision_goes_to_the_hub_and_into_the_ancestry(tmp_path, monkeypatch):
    asked = {}

    class Library:
        @staticmethod
        def load_dataset(*_args, **settings):
            asked.update(settings)
            return Flaky(1000)

    monkeypatch.setattr(hf, "_datasets", lambda: Library)
    read(tmp_path, path="hf:owner/name:ko", revision="abc123", max_rows=3)
    assert asked["revision"] == "abc123"
    free, pinned, later = (
        HFSource(path="hf:owner/name:ko", revision=r).as_parent(tmp_path).as_ancestor()
        for r in (None, "abc123", "def456")
    )
    assert len({free.hash, pinned.hash, later.hash}) == 3
    assert (free.origin, pinned.origin) == (None, "hf://datasets/owner/name@abc123")


def test_a_folder_has_no_revision(dataset):
    with pytest.raises(ConfigError, match="no revisions"):
        parse(HFSource, {"path": f"hf:{dataset}", "revision": "main"})


class Flaky:
    """A stream of 100 rows that loses the connection every ``every`` rows."""

    column_names = None

    def __init__(self, every, start=0):
        self.every, self.start = every, start

    def skip(self, n):
        return Flaky(self.every, n)

    def __iter__(self):
        for i in range(self.start, 100):
            if i - self.start == self.every:
                raise ConnectionError("reset by peer")
            yield {"text": f"문서 {i}"}


@pytest.fixture
def connection(monkeypatch):
    """Put a flaky stream in place of the hub; returns (use, waits)."""
    waits: list[float] = []
    monkeypatch.setattr(hf.time, "sleep", waits.append)

    def use(every):
        opened: list[Flaky] = []

        class Library:
            @staticmethod
            def load_dataset(*_args, **_settings):
                opened.append(Flaky(every))
                assert len(opened) < 20, "never gets further"
                return opened[-1]

        monkeypatch.setattr(hf, "_datasets", lambda: Library)

    return use, waits


def test_a_broken_connection_continues_where_it_broke(tmp_path, connection):
    use, waits = connection
    use(every=30)
    texts, warnings = read(tmp_path, path="hf:owner/name")
    assert texts == [f"문서 {i}" for i in range(100)]
    assert waits == [1.0, 1.0, 1.0] and "after row 30" in warnings[0]


def test_a_dead_connection_ends_in_a_clear_error(tmp_path, connection):
    use, waits = connection
    use(every=0)
    with pytest.raises(DataError, match=r"hf:owner/name.*tried 6 times: ConnectionError"):
        read(tmp_path, path="hf:owner/name")
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
