"""Files of every kind, whole and damaged."""

import csv
import gzip
import io
import json
import tracemalloc
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from yaongi.core.config import parse
from yaongi.core.errors import ConfigError, DataError
from yaongi.data.sources import Reading, Rejected, Source, formats
from yaongi.data.sources.files import FilesSource
from yaongi.data.wording import said

TEXTS = ["가각 힣", "ㅋㅋㅋ 漢字 🙂", "def f():\n    return 1", 'quote " and, comma']


def write(path, texts=TEXTS):
    """``texts`` as a file of the kind its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table({"text": texts, "n": list(range(len(texts)))}), path)
        return path
    if ".csv" in path.name or ".tsv" in path.name:
        stream = io.StringIO()
        rows = csv.writer(stream, delimiter="\t" if ".tsv" in path.name else ",")
        rows.writerows([["n", "text"], *enumerate(texts)])
        data = stream.getvalue()
    else:
        data = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
    path.write_bytes(pack(path.name, data.encode()))
    return path


def pack(name, data):
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zstandard.compress(data) if name.endswith(".zst") else data


def read(root, path, **settings):
    """(texts, rejected) of a files source."""
    rejected: list[Rejected] = []
    source = parse(FilesSource, {"path": path, **settings})
    reading = Reading(root=root, reject=rejected.append)
    return [d.text for d in source.read(reading)], rejected


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "a.csv.gz", "a.tsv", "a.parquet"],
)
def test_every_kind_gives_the_same_texts(tmp_path, name):
    write(tmp_path / name)
    assert read(tmp_path, name) == (TEXTS, [])


def test_frames_of_zstd_are_read_one_after_another(tmp_path):
    (tmp_path / "a.jsonl.zst").write_bytes(
        pack(".zst", b'{"text": "a"}\n') + pack(".zst", b'{"text": "b"}\n')
    )
    assert read(tmp_path, "a.jsonl.zst")[0] == ["a", "b"]


def test_a_folder_is_read_in_order_and_below(tmp_path):
    for name, text in (("b.jsonl", "둘"), ("a/z.jsonl", "하나"), (".hidden/c.jsonl", "숨김")):
        write(tmp_path / "in" / name, [text])
    (tmp_path / "in" / "map.png").write_bytes(b"PNG")
    warnings = []
    source = FilesSource(path="in")
    reading = Reading(root=tmp_path, warn=warnings.append)
    assert [d.text for d in source.read(reading)] == ["하나", "둘"]
    assert [said(w) for w in warnings] == [
        "in: 1 files of another kind, or about the data, were not read, e.g. map.png"
    ]


def test_texts_beside_tables_are_read_too_and_have_no_columns(tmp_path):
    row = {"본문": "표의 글"}
    for name in ("a.txt", "b.md", "c.jsonl"):
        (tmp_path / name).write_text(json.dumps(row) if "json" in name else name, "utf-8")
    warnings = []
    source = FilesSource(path=".", fields={"text": "본문"})
    reading = Reading(root=tmp_path, warn=warnings.append)
    assert [d.text for d in source.read(reading)] == ["a.txt", "b.md", "표의 글"]
    assert "2 text files beside tables are documents, too, e.g. a.txt" in said(warnings[0])
    assert read(tmp_path, "*.jsonl", fields={"text": "본문"}) == (["표의 글"], [])


def test_a_tree_of_texts_gives_a_document_per_file(tmp_path):
    for name in ("a.txt", "sub/b.md", "c.txt.gz"):
        path = tmp_path / "t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(name, f"문서 {name}\n\n끝".encode("utf-8-sig")))
    assert read(tmp_path, "t")[0] == [
        f"문서 {name}\n\n끝" for name in ("a.txt", "c.txt.gz", "sub/b.md")
    ]


def test_a_long_text_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "TEXT_PIECE_BYTES", 1000)
    text = "".join(f"{i}번째 문단입니다. 가나다라마바사.\n\n" for i in range(200))
    (tmp_path / "book.txt").write_text(text, "utf-8")
    pieces, _ = read(tmp_path, "book.txt")
    assert len(pieces) > 5 and "".join(pieces) == text
    assert all(piece.endswith("\n\n") for piece in pieces)


def test_a_glob(tmp_path):
    for name in ("ko_1.jsonl", "ko_2.jsonl", "en_1.jsonl"):
        write(tmp_path / name, [name])
    assert read(tmp_path, "ko_*.jsonl")[0] == ["ko_1.jsonl", "ko_2.jsonl"]
    assert read(tmp_path, f"{tmp_path}/en*.jsonl")[0] == ["en_1.jsonl"]


def test_fields_are_mapped(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "본문", "title": "x"}\n', "utf-8")
    assert read(tmp_path, "a.jsonl", fields={"text": "body"})[0] == ["본문"]
    with pytest.raises(ConfigError, match="Did you mean 'text'"):
        parse(FilesSource, {"path": "a.jsonl", "fields": {"txt": "body"}})


def test_broken_rows_are_kept_aside_and_the_rest_is_used(tmp_path):
    lines = [
        b'{"text": "\xea\xb0\x80"}',
        b"{not json",
        b'{"text": "\xff\xfe"}',
        b"[1, 2]",
        b"",
        b'{"text": "' + b"[" * 100_000,
        b'{"text": ""}',
        '\ufeff{"text": "나"}'.encode(),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    texts, rejected = read(tmp_path, "a.jsonl")
    assert texts == ["가", "나"]
    assert [(r.line, r.reason) for r in rejected] == [
        (2, "not JSON"),
        (3, "not UTF-8"),
        (4, "not a JSON object"),
        (6, "not JSON"),
        (7, "text is empty"),
    ]
    assert rejected[0].row == "{not json" and max(len(r.row) for r in rejected) <= 4000


def test_nesting_and_numbers_that_break_parsers(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": ' + "[" * 200_000 + "\n" + '{"text": ' + "9" * 10_000 + '}\n{"text": "가"}\n'
    )
    texts, rejected = read(tmp_path, "a.jsonl")
    assert texts == ["가"] and [r.reason for r in rejected] == ["not JSON", "not JSON"]


def test_a_line_without_end_is_skipped_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_LINE_BYTES", 1000)
    rows = ['{"text": "가"}', '{"text": "' + "x" * 700_000 + '"}', '{"text": "나"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows), "utf-8")
    texts, rejected = read(tmp_path, "a.jsonl")
    assert texts == ["가", "나"]
    assert [(r.line, r.reason) for r in rejected] == [(2, "line too long")]


def test_memory_does_not_grow_with_a_line(tmp_path):
    size = 2**28
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "a"}\n')
        file.seek(size)
        file.write(b'\n{"text": "b"}\n')
    tracemalloc.start()
    texts, rejected = read(tmp_path, "a.jsonl")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert texts == ["a", "b"] and [r.reason for r in rejected] == ["line too long"]
    assert peak < 4 * formats.MAX_LINE_BYTES < size


def test_a_text_file_in_another_encoding_is_kept_aside(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_bytes("한글 완성형 문서".encode("cp949"))
    (tmp_path / "t" / "b.txt").write_text("유니코드", "utf-8")
    texts, rejected = read(tmp_path, "t")
    assert texts == ["유니코드"]
    assert [(r.file, r.reason) for r in rejected] == [("t/a.txt", "not UTF-8")]


def test_a_table_without_text_lists_its_columns(tmp_path):
    pq.write_table(pa.table({"본문": ["가"] * 3, "label": [1, 2, 3]}), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"a\.parquet.*Columns found: 본문, label.*fields: {text: 본문}"
    ):
        read(tmp_path, "a.parquet")
    assert read(tmp_path, "a.parquet", fields={"text": "본문"}) == (["가"] * 3, [])


def test_the_column_that_has_the_text_is_suggested_never_a_key(tmp_path):
    rows = [{"id": f"sts-{i}", "sentence1": "고양이가 잔다", "score": i} for i in range(3)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "sts.jsonl").write_text(lines, "utf-8")
    with pytest.raises(DataError, match=r"fields: {text: sentence1}"):
        read(tmp_path, "sts.jsonl")


def test_units_together_are_the_whole(tmp_path):
    for name in ("b.jsonl", "a/c.jsonl.gz", "a/d.parquet"):
        write(tmp_path / "in" / name, [f"{name} {i}" for i in range(3)])
    for path in ("in", "in/a/*", str(tmp_path / "in")):
        source = FilesSource(path=path)
        whole = [d.id for d in source.read(Reading(root=tmp_path))]
        units = source.units(Reading(root=tmp_path))
        parts = [d.id for u in units for d in source.read(Reading(root=tmp_path, unit=u.name))]
        assert parts == whole and len(whole) == 3 * len(units) > 3
        assert all(unit.bytes > 0 for unit in units)


def test_csv_rows_of_the_wrong_shape(tmp_path):
    data = 'text,n\n가,1\n나\n"두\n줄",2\n'.encode() + b"\xff,3\n" + "끝,4\n".encode()
    (tmp_path / "a.csv").write_bytes(data)
    texts, rejected = read(tmp_path, "a.csv")
    assert texts == ["가", "두\n줄", "끝"]
    assert [(r.line, r.reason) for r in rejected] == [
        (3, "wrong number of columns"),
        (6, "not UTF-8"),
    ]


def test_a_csv_cell_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_LINE_BYTES", 500)
    (tmp_path / "a.csv").write_text("text\n가\n" + '"' + "x\n" * 400 + "나\n", "utf-8")
    texts, rejected = read(tmp_path, "a.csv")
    assert texts[0] == "가" and "not CSV" in [r.reason for r in rejected]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_cut_short_is_noticed(tmp_path, name):
    path = write(tmp_path / name, [f"{i} " + "가나다라" * 50 for i in range(3000)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    texts, rejected = read(tmp_path, name)
    assert [r.reason for r in rejected] == ["damaged file"]
    assert rejected[0].line == len(texts) + 1
    assert texts or name.endswith(".parquet")  # whose contents stand at its end


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_what_a_small_cut_file_still_holds_is_used(tmp_path, name):
    rows = [f"{i} {sha256(str(i).encode()).hexdigest()}" for i in range(200)]  # hard to pack
    path = write(tmp_path / name, rows)
    path.write_bytes(path.read_bytes()[:-400])
    texts, rejected = read(tmp_path, name)
    kept = 50 if name.endswith("gz") else 0  # zstd packs so little as one block
    assert len(texts) >= kept and texts == rows[: len(texts)]
    assert [(r.line, r.reason) for r in rejected] == [(len(texts) + 1, "damaged file")]


def test_a_row_in_another_encoding_is_shown_as_it_was_written(tmp_path):
    (tmp_path / "a.csv").write_bytes(f"text,n\n{'완성형 글자' * 900},1\n".encode("cp949"))
    (tmp_path / "b.txt").write_bytes("유니코드".encode("utf-16"))
    (row,) = [r.row for r in read(tmp_path, "*.csv")[1]]
    assert len(row) > 2000 and ("완성형 글자" * 900).startswith(row)
    assert [r.row for r in read(tmp_path, "b.txt")[1]] == ["유니코드"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.csv.zst", "a.txt.gz"])
def test_a_bomb_stops(tmp_path, monkeypatch, name):
    monkeypatch.setattr(formats, "FREE_EXPANSION_BYTES", 2**20)
    (tmp_path / name).write_bytes(pack(name, b"\0" * (50 * 2**20)))
    with pytest.raises(DataError, match=rf"{name} unpacks to more than [0-9.]+ MB, over"):
        read(tmp_path, name)


def test_parquet_with_bytes_that_are_no_text(tmp_path):
    texts = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    assert [r.reason for r in read(tmp_path, "a.parquet")[1]] == ["not UTF-8"]


@pytest.mark.parametrize("path", ["../secret.jsonl", "link.jsonl", "a/../../secret.jsonl"])
def test_no_way_out_of_the_root(tmp_path, path):
    secret = write(tmp_path / "secret.jsonl")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.jsonl").symlink_to(secret)
    with pytest.raises(DataError, match="leads out of the data folder"):
        read(root, path)
    assert read(root, str(secret))[0] == TEXTS  # absolute: the user means it


def test_a_folder_with_a_link_out_of_the_root(tmp_path):
    secret = write(tmp_path / "secret.jsonl")
    root = tmp_path / "root"
    write(root / "a" / "a.jsonl")
    (root / "a" / "b.jsonl").symlink_to(secret)
    with pytest.raises(DataError, match="leads out"):
        read(root, "a")


def test_missing_things_are_named(tmp_path):
    write(tmp_path / "news.jsonl")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "cat.png").write_bytes(b"x")
    for path, message in [
        ("newz.jsonl", "Did you mean"),
        ("empty", "holds no file that can be read"),
        ("pictures", r"\(1 others\)"),
        ("*.parquet", "holds no file"),
        ("pictures/cat.png", "no kind of file"),
    ]:
        with pytest.raises(DataError, match=message) as error:
            FilesSource(path=path).fingerprint(tmp_path)
        assert error.value.exit_code == 2
    with pytest.raises(DataError, match=r"YAONGI_DATA"):
        FilesSource(path="x/a.jsonl").fingerprint(tmp_path / "nowhere")


def test_the_fingerprint_follows_the_content(tmp_path):
    path = write(tmp_path / "a.jsonl", ["가"])
    before = FilesSource(path="a.jsonl").fingerprint(tmp_path)
    assert before == FilesSource(path="a.jsonl").fingerprint(tmp_path)
    write(path, ["나"])
    assert FilesSource(path="a.jsonl").fingerprint(tmp_path) != before


def test_plain_strings_and_kinds():
    from yaongi.data.corpus import CorpusConfig

    cfg = parse(
        CorpusConfig,
        {"sources": ["a/b.jsonl", "hf:owner/name:config", {"path": "hf:o/n", "max_rows": "2K"}]},
    )
    assert [s.kind for s in cfg.sources] == ["files", "hf", "hf"]
    assert [s.name for s in cfg.sources] == ["a/b.jsonl", "hf:owner/name:config", "hf:o/n"]
    assert all(isinstance(s, Source) for s in cfg.sources)
    with pytest.raises(ConfigError, match="'files'"):
        parse(CorpusConfig, {"sources": [{"kind": "fils", "path": "x"}]})
    with pytest.raises(ConfigError, match="cannot be a domain"):
        parse(CorpusConfig, {"sources": [{"path": "x", "domain": "../ko"}]})


def test_what_tells_of_the_tables_is_none_of_their_text(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.jsonl").write_text('{"text": "가"}\n', encoding="utf-8")
    for name in ("README.md", "LICENSE.txt", "poem.txt"):
        (tmp_path / "in" / name).write_text("나\n", encoding="utf-8")
    source = FilesSource(path="in")
    assert [p.name for p in source.files(tmp_path)[0]] == ["poem.txt", "rows.jsonl"]
    (tmp_path / "in" / "rows.jsonl").unlink()  # alone they are texts like others
    assert len(source.files(tmp_path)[0]) == 3


EXCHANGE = r"문제: (?P<question>.+?)\n(?:풀이: )?(?P<answer>.+)"


def test_a_text_that_is_a_question_and_its_answer_becomes_a_conversation(tmp_path):
    texts = ["문제: 1 더하기 1은?\n풀이: 둘이다.\n정답: 2", "문제: 몇 개?\n정답: 3", "문제가 없다"]
    write(tmp_path / "a.jsonl", texts)
    rejected = []
    source = parse(FilesSource, {"path": "a.jsonl", "exchange": EXCHANGE})
    found = list(source.read(Reading(root=tmp_path, reject=rejected.append)))
    said = [[(m["role"], m["content"]) for m in d.metadata["messages"]] for d in found]
    assert said == [
        [("user", "1 더하기 1은?"), ("assistant", "둘이다.\n정답: 2")],
        [("user", "몇 개?"), ("assistant", "정답: 3")],
    ]
    assert [(r.line, r.reason, r.row) for r in rejected] == [
        (3, "text is no question and answer", "문제가 없다")
    ]


def test_an_exchange_reads_the_column_that_fields_names(tmp_path):
    (tmp_path / "a.csv").write_text('n,body\n1,문제: 가\n2,"문제: 가?\n나"\n')
    settings = {"path": "a.csv", "exchange": EXCHANGE, "fields": {"text": "body"}}
    texts, rejected = read(tmp_path, **settings)
    assert texts == ["가?\n\n나"]
    assert len(rejected) == 1


@pytest.mark.parametrize("pattern", ["(", "Q: (?P<question>.+)", "(?P<question>.)(?P<reply>.)"])
def test_an_exchange_without_both_groups_is_refused(pattern):
    with pytest.raises(ConfigError, match=r"regular expression|question"):
        parse(FilesSource, {"path": "a.jsonl", "exchange": pattern})
