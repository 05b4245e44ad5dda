import numpy as np
import pytest

from yaongi.data.dedup import runs
from yaongi.data.dedup.runs import RunWriter, blocks, document_of, item_of, place_of


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(runs, "RUN_RECORDS", 50)
    monkeypatch.setattr(runs, "BLOCK_RECORDS", 20)


def write(folder, keys, places, workers=3):
    for worker in range(workers):
        with RunWriter(folder, worker) as out:
            for i in range(worker, len(keys), workers):
                out.add(keys[i : i + 1], places[i : i + 1])


def records(found):
    return [pair for block in found for pair in zip(block.keys, block.places, strict=True)]


@pytest.mark.parametrize("workers", [1, 3])
def test_records_come_back_sorted_whatever_the_runs(tmp_path, small, workers):
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64, 500, dtype=np.uint64)
    keys[::7] = keys[0]
    places = np.arange(500, dtype=np.uint64)
    write(tmp_path, keys, places, workers)
    assert len(list(tmp_path.iterdir())) > workers
    found = list(blocks(tmp_path))
    of_one = [block for block in found if block.keys[0] == keys[0]]
    assert max(len(block.keys) for block in found) <= 20 < sum(len(b.keys) for b in of_one)
    assert sorted(records(found)) == sorted(zip(keys, places, strict=True))
    assert [key for key, _ in records(found)] == sorted(keys)
    for block in found:
        for key, place, first, before in zip(*block, strict=True):
            mine = places[keys == key]
            assert first == mine.min()
            if len(mine) <= 20:
                assert before == (place if place == first else mine[mine < place].max())


def test_a_range_of_keys_and_its_ends(tmp_path, small):
    keys = np.array([0, 1, 5, 5, 6, 2**63, 2**64 - 1], np.uint64)
    write(tmp_path, keys, np.arange(7, dtype=np.uint64))
    assert [int(key) for key, _ in records(blocks(tmp_path, 1, 5))] == [1, 5, 5]
    assert [int(key) for key, _ in records(blocks(tmp_path, 2**63))] == [2**63, 2**64 - 1]
    assert records(blocks(tmp_path, 7, 8)) == records(blocks(tmp_path / "none")) == []


def test_a_worker_started_again_replaces_what_it_wrote(tmp_path, small):
    for n in (120, 30):
        with RunWriter(tmp_path, 4) as out:
            for i in range(n):
                out.add(np.array([i], np.uint64), np.array([i], np.uint64))
    assert len(records(blocks(tmp_path))) == 30


def test_places_sort_held_out_documents_first_and_give_back_their_parts():
    places = [
        place_of(3, True, 9),
        place_of(2**38, True),
        place_of(0, False),
        place_of(0, False, 1),
        place_of(1, False),
    ]
    assert places == sorted(places)
    assert document_of(np.array(places)).tolist() == [3, 2**38, 0, 0, 1]
    assert item_of(np.array(places)).tolist() == [9, 0, 0, 1, 0]
