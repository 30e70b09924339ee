"""The store's room: who uses what, and what goes first."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orch.errors import StorageError
from orch.training import eviction
from orch.training.arrays import ArrayStore
from orch.training.shards import Layout

ROWS = 1000
HEADER = 128


def put(store: ArrayStore, name: str, user: str = "", width: int = 1) -> NDArray[Any]:
    """Have an array of rows so many bytes wide, computing it if it is not there."""
    layout = Layout((ROWS, width), "uint8")
    building = store.build(
        {"name": name},
        layout,
        lambda a, b: np.full((b - a, width), 7),
        name,
        user or f"sweep-{name}",
    )
    while True:
        try:
            next(building)
        except StopIteration as end:
            return end.value


def kept(folder: Path) -> dict[str, eviction.Stored]:
    return {each.title: each for each in eviction.stored(folder)}


def make_old(folder: Path, name: str, seconds: float) -> None:
    place = kept(folder)[name].place
    for path in (place / eviction.USES, place / eviction.MANIFEST):
        os.utime(path, times=(time.time() - seconds,) * 2)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        put(ArrayStore(tmp_path), name)
        make_old(tmp_path, name, 100.0 * age)
    put(ArrayStore(tmp_path, limit=3 * (ROWS + HEADER)), "another")
    assert kept(tmp_path).keys() == {"new", "middle", "another"}
    put(ArrayStore(tmp_path, limit=2 * (ROWS + HEADER)), "last")
    assert kept(tmp_path).keys() == {"another", "last"}


def test_reading_makes_an_array_recent(tmp_path: Path) -> None:
    for name in ("first", "second"):
        put(ArrayStore(tmp_path), name)
        make_old(tmp_path, name, 100.0)
    put(ArrayStore(tmp_path), "first", user="another-sweep")
    put(ArrayStore(tmp_path, limit=2 * (ROWS + HEADER)), "third")
    assert kept(tmp_path).keys() == {"first", "third"}


def test_hits_and_users_are_remembered(tmp_path: Path) -> None:
    for user in ("one", "one", "two"):
        put(ArrayStore(tmp_path), "it", user)
    found = kept(tmp_path)["it"]
    assert (found.hits, found.users, found.rows) == (2, ("one", "two"), ROWS)
    assert (found.state, found.bytes, found.held) == ("stored", ROWS + HEADER, False)


def test_what_a_trial_reads_is_not_deleted(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path, limit=ROWS + HEADER)
    array = put(store, "in use")
    with pytest.raises(StorageError, match=r"1,000 bytes do not fit .* 1,128 are in use") as caught:
        put(store, "too much")
    assert caught.value.exit_code == 5
    assert "ORCH_CACHE_BYTES" in caught.value.hint
    assert kept(tmp_path)["in use"].held
    assert not eviction.delete(kept(tmp_path)["in use"])
    store.release()
    put(store, "now it fits")
    assert kept(tmp_path).keys() == {"now it fits"}
    assert array.sum() == 7 * ROWS, "what is mapped stays readable"


def test_what_was_deleted_meanwhile_is_computed_again(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path)
    put(store, "it")
    store.release()
    assert eviction.delete(kept(tmp_path)["it"])
    assert not store.has({"name": "it"})
    assert put(store, "it").sum() == 7 * ROWS
    assert kept(tmp_path)["it"].hits == 0


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orch.training import eviction\n"
        "(each,) = eviction.stored(Path(sys.argv[1]))\n"
        "lock = eviction.hold(each.place); print('held', flush=True); sys.stdin.read()"
    )
    put(ArrayStore(tmp_path), "it")
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert kept(tmp_path)["it"].held
    holder.kill()
    holder.communicate()
    assert eviction.delete(kept(tmp_path)["it"])
    assert kept(tmp_path) == {}


def test_an_unfinished_part_counts_and_can_go(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path)
    building = store.build({"name": "it"}, Layout((5000,), "uint8"), lambda a, b: np.ones(b - a))
    next(building)
    building.close()
    (found,) = eviction.stored(tmp_path)
    assert (found.state, found.bytes) == ("unfinished", 5000 + HEADER)
    store.release()
    put(ArrayStore(tmp_path, limit=2000), "another")
    assert kept(tmp_path).keys() == {"another"}


def test_a_user_does_not_delete_what_it_used_itself(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path, limit=ROWS + HEADER)
    put(store, "first", user="one")
    store.release()
    assert store.room("one") == 0
    assert store.room("two") == ROWS + HEADER
    with pytest.raises(StorageError, match="do not fit"):
        put(store, "second", user="one")
    store.release()
    put(store, "second", user="two")
    assert kept(tmp_path).keys() == {"second"}


def test_room_is_the_limit_less_what_is_in_use(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path, limit=10_000)
    assert store.room() == 10_000
    put(store, "in use")
    put(ArrayStore(tmp_path), "not in use").sum()
    assert store.room() == 10_000 - ROWS - HEADER


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_by_default_half_of_the_disk_is_left(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(248_576))
    store = ArrayStore(small_disk / "store")
    assert 350_000 < store.room() <= 400_000
    put(store, "large", width=200)
    with pytest.raises(StorageError, match="do not fit"):
        put(store, "larger", width=250)
    store.release()
    put(store, "larger", width=250)
    assert kept(small_disk / "store").keys() == {"larger"}
