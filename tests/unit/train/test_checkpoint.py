"""Checkpoints: whole or not there, damage is named, the newest valid one wins, full disks."""

from __future__ import annotations

import errno
import logging
import os
import resource
from pathlib import Path

import pytest
import tiny_run
import torch

from yaongi.core import files
from yaongi.core.config import parse
from yaongi.core.errors import CheckpointError, StorageError
from yaongi.model.lm import LM, LMConfig
from yaongi.train import checkpoint as ckpt
from yaongi.train.optim.muon import Muon

TENSORS = {"w": torch.arange(5000.0)}


def write(root: Path, step: int, metric: float | None = None, keep: int = 9) -> ckpt.Checkpoint:
    return ckpt.save(root, step, TENSORS, {"m": torch.ones(3)}, {"metric": metric}, keep=keep)


def steps(root: Path) -> list[int]:
    return [c.step for c in ckpt.complete(root)]


def test_what_is_saved_is_read(tmp_path):
    saved = write(tmp_path, 7, metric=1.5)
    found = ckpt.newest(tmp_path)
    assert found == saved
    model, training, state = found.read()
    assert torch.equal(model["w"], TENSORS["w"])
    assert torch.equal(training["m"], torch.ones(3))
    assert state == {"step": 7, "metric": 1.5}


def test_no_checkpoint_is_none(tmp_path):
    assert ckpt.newest(tmp_path) is None
    assert ckpt.newest(tmp_path / "nothing") is None


@pytest.mark.parametrize("name", [ckpt.MODEL, ckpt.TRAINING, ckpt.STATE])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damage_is_named_with_both_hashes(tmp_path, name, damage):
    saved = write(tmp_path, 1)
    expected = files.sha256_file(saved.path / name)
    hurt(saved.path / name, damage)
    with pytest.raises(CheckpointError) as caught:
        ckpt.newest(tmp_path)
    assert name in str(caught.value)
    assert caught.value.exit_code == 2
    if damage != "gone":
        assert expected in str(caught.value)
        assert files.sha256_file(saved.path / name) in str(caught.value)


def hurt(path: Path, damage: str) -> None:
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model.safetensors": 3}'])
def test_a_damaged_list_of_hashes_is_an_error_too(tmp_path, text):
    saved = write(tmp_path, 1)
    (saved.path / ckpt.HASHES).write_text(text)
    with pytest.raises(CheckpointError, match=ckpt.HASHES):
        ckpt.newest(tmp_path)


def test_the_newest_valid_one_is_taken_with_a_warning(tmp_path, caplog):
    for step in (1, 2, 3):
        write(tmp_path, step)
    hurt(tmp_path / "step-00000003" / ckpt.MODEL, "flip")
    hurt(tmp_path / "step-00000002" / ckpt.STATE, "cut")
    with caplog.at_level(logging.WARNING):
        assert ckpt.newest(tmp_path).step == 1
    assert "step-00000003" in caplog.text and "step-00000002" in caplog.text


def test_a_damaged_one_is_replaced_when_its_step_comes_again(tmp_path):
    write(tmp_path, 3)
    hurt(tmp_path / "step-00000003" / ckpt.MODEL, "flip")
    write(tmp_path, 3)
    assert ckpt.newest(tmp_path).step == 3


def test_a_killed_save_is_no_checkpoint_and_is_swept_away(tmp_path):
    write(tmp_path, 1)
    half = tmp_path / ".step-00000002.tmp"
    half.mkdir()
    (half / ckpt.MODEL).write_bytes(b"half")
    assert ckpt.newest(tmp_path).step == 1
    write(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


def test_keeps_the_last_ones_and_the_best(tmp_path):
    for step, metric in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 1.5), (6, None)]:
        write(tmp_path, step, metric, keep=2)
    assert steps(tmp_path) == [6, 5, 2]


@pytest.fixture
def full_disk(monkeypatch):
    """Every write, sync, rename or new folder is a boundary; the n-th one fails with ENOSPC."""
    state = {"left": -1}

    def guard(function):
        def guarded(*args, **kwargs):
            if state["left"] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            state["left"] -= 1
            return function(*args, **kwargs)

        return guarded

    def full_file(tensors, path, **kwargs):
        if state["left"] == 0:
            Path(path).write_bytes(b"part")  # what a full disk leaves
        save(tensors, path, **kwargs)

    save = guard(ckpt.save_file)
    monkeypatch.setattr(ckpt, "save_file", full_file)
    for owner, name in [(os, "fsync"), (Path, "rename"), (Path, "replace"), (Path, "mkdir")]:
        monkeypatch.setattr(owner, name, guard(getattr(owner, name)))
    return state


def test_full_disk_at_any_boundary_leaves_the_last_good_one(tmp_path, full_disk):
    write(tmp_path, 1)
    failures = 0
    while True:
        full_disk["left"] = failures
        try:
            write(tmp_path, 2)
        except StorageError as error:
            failures += 1
            full_disk["left"] = -1
            assert "step-00000002" in str(error)
            assert "No space left" in str(error)
            newest = ckpt.newest(tmp_path)
            assert newest.step in (1, 2)  # 2: only the last sync of the folder failed
            assert torch.equal(newest.read()[0]["w"], TENSORS["w"])
            assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
            for checkpoint in ckpt.complete(tmp_path):
                checkpoint.verify()
        else:
            break
    assert failures >= 12


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    write(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError, match="File too large"):
            write(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert steps(tmp_path) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def trained(optimizer_config, steps=3):
    model = LM(parse(LMConfig, tiny_run.HYBRID))
    optimizer = optimizer_config.build(model)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    return model, optimizer


def test_training_state_comes_back_through_the_files(tmp_path):
    model, optimizer = trained(Muon())
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    scaler.scale(torch.ones(()))
    tensors, state = ckpt.training_state(model, optimizer, scaler)
    ckpt.save(tmp_path, 3, ckpt.to_cpu(model.state_dict()), tensors, state)
    expected = torch.randn(4)

    other, fresh = trained(Muon(), steps=0)
    again = torch.amp.GradScaler("cpu")
    weights, tensors, state = ckpt.newest(tmp_path).read()
    other.load_state_dict(weights)
    ckpt.restore(other, fresh, again, tensors, state)
    assert torch.equal(torch.randn(4), expected)
    assert again.state_dict() == scaler.state_dict()
    a, b = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert a.keys() == b.keys() and len(a) == len(list(model.parameters()))
    for index, entries in a.items():
        assert entries.keys() == b[index].keys()
        assert all(torch.equal(v, b[index][k]) for k, v in entries.items())


def test_another_machine_is_a_warning(caplog):
    facts = ckpt.machine_facts(torch.device("cpu"))
    with caplog.at_level(logging.WARNING):
        ckpt.warn_if_moved(facts, facts)
        assert not caplog.records
        ckpt.warn_if_moved({**facts, "threads": 96, "instruction set": "SVE256"}, facts)
    assert "threads: 96 -> 1" in caplog.text
    assert "not bit for bit" in caplog.text
