"""A name that is let through stays inside its folder on every system, whatever it is made of."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from yaongi.core.errors import ArtifactError
from yaongi.interop.hub_files import check_content, check_names, chosen, git_sha1, is_pickle

PIECES = st.one_of(
    st.sampled_from(
        ["..", ".", "", "/", "\\", "C:", "con", "nul.txt", ".git", "a", "가", " ", "\x00"]
    ),
    st.text(max_size=4),
)
NAMES = st.lists(PIECES, max_size=6).map("/".join) | st.lists(PIECES, max_size=6).map("".join)


@given(NAMES)
@example("모델/가중치-00001-of-00002.safetensors")
def test_a_name_let_through_stays_inside_everywhere(name):
    try:
        check_names([name], "x")
    except ArtifactError:
        return
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        assert not path.is_absolute() and not path.drive and not path.root
        assert ".." not in path.parts and path.parts
        assert (type(path)("/root") / path).is_relative_to("/root")
    assert PureWindowsPath(name).parts == PurePosixPath(name).parts == tuple(name.split("/"))
    assert name.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00002.safetensors",
        "train/ko.jsonl.zst",
        "한국어 말뭉치/가.txt",
        "漢字.md",
        "ㅋㅋㅋ.json",
        "a+b=c (1).txt",
        "🐱.txt",
        ".gitattributes",
        "conv.json",
        "x" * 200,
    ],
)
def test_ordinary_names_pass(name):
    check_names([name], "x")


@pytest.mark.parametrize("name", ["a.bin", "A.PT", "x/y.pth", "m.ckpt", "m.pkl", "x.joblib"])
def test_pickles_are_known_by_name(name):
    assert is_pickle(name)


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a.gguf", "bin", "a.bin.json", "pt.txt", "a.npy"]
)
def test_other_files_are_none(name):
    assert not is_pickle(name)


def test_git_counts_like_git():
    assert git_sha1(b"Hello, World!") == "b45ef6fec89518d314f546fd6c3025367b721684"


def test_a_part_without_files_is_nothing_not_its_licence():
    assert chosen(["LICENSE", "config.json"], "gguf") == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04", b"\xff" * 8 + b"{", b"\0" * 8 + b"{", (9).to_bytes(8, "little") + b"["],
)
def test_a_damaged_head_is_seen(data, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        check_content(path)
