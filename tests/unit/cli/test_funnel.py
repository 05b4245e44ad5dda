"""The summary of a corpus a person reads."""

import re

import pytest
from rich.cells import cell_len

from yaongi.cli.conversations import packing
from yaongi.cli.funnel import funnel
from yaongi.data.wording import notice, reason_name


def step(name, documents, dropped=None, changed=None):
    sizes = {"documents": documents, "bytes": documents * 1000}
    return {"step": name, **sizes, "dropped": dropped or {}, "changed": changed or {}}


def test_steps_that_did_something_are_told_with_their_first_reasons():
    many = {"too short": 5, "symbols": 2, "no spaces": 1, "too long": 1}
    steps = [
        step("read", 1234, {"not JSON": 1}),
        step("html", 1234),
        step("shape", 1225, many),
        step("pii", 1225, changed={"phone": 3}),
        step("split", 1225, changed={"held out": 12}),
    ]
    lines = funnel({"steps": steps, "warnings": [f"w{i}" for i in range(7)]})
    assert [" ".join(line.split()) for line in lines[:5]] == [
        "step documents text",
        "read 1,234 1.23 MB dropped 1: 1 not JSON",
        "shape 1,225 1.23 MB dropped 9: 5 too short, 2 symbols, 1 no spaces, …",
        "pii 1,225 1.23 MB changed: 3 phone",
        "split 1,225 1.23 MB 12 held out",
    ]
    assert lines[5] == "  nothing dropped or changed: html"
    assert lines[6:] == ["! w0", "! w1", "! w2", "! w3", "! w4", "! and 2 more in manifest.json"]


def test_a_korean_reads_korean_and_columns_stay_aligned(monkeypatch):
    monkeypatch.setenv("YAONGI_LANG", "ko")
    steps = [
        step("read", 1000, {"not UTF-8": 2, "text is empty": 1}),
        step("encoding", 1000, changed={"nfc": 2}),
        step("split", 1000, changed={"held out": 1}),
    ]
    warning = notice(
        "{source}: {n} of {rows} rows cannot be used ({reasons}); they are in {file}",
        source="a.jsonl", n=3, rows=9, reasons={"not JSON": 3}, file="rejected.jsonl.zst",
    )  # fmt: skip
    lines = funnel({"steps": steps, "warnings": [warning]})
    english = re.compile("not|is empty|held out|rows|cannot|read|split")
    assert [line for line in lines if english.search(line.replace("rejected", ""))] == []
    places = [cell_len(line.partition("1,000")[0]) for line in lines if "1,000" in line]
    assert len(places) == 3 and len(set(places)) == 1


def test_every_reason_that_filters_count_is_known(monkeypatch):
    monkeypatch.setenv("YAONGI_LANG", "ko")
    reasons = ("too short", "5-grams", "line in ja", "messages is empty", "shape: no spaces",
               "no answer to learn from", "all answers are ranked the same")  # fmt: skip
    for reason in reasons:
        assert not re.search("[a-z]{3}", reason_name(reason).replace("messages", "")), reason


def test_a_corpus_of_an_older_version_has_no_funnel():
    assert funnel({"documents": 3}) == []


PACKED = {"conversations": 1200, "rows": 90, "padding": 0.034, "too_long": 7, "untrained": 2}


@pytest.mark.parametrize(
    ("truncate", "said"), [(False, "7 left out because longer"), (True, "7 cut because longer")]
)
def test_what_packing_left_out_is_told(truncate, said):
    line = packing(PACKED, {"seq_len": 512, "truncate": truncate})
    assert line.startswith("1,200 conversations in 90 rows of 512 tokens, 3% of them empty")
    assert said in line and line.endswith("2 left out with nothing to learn")
    whole = packing(
        PACKED | {"too_long": 0, "untrained": 0}, {"seq_len": 512, "truncate": truncate}
    )
    assert ";" not in whole
