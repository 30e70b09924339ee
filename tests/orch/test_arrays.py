from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orch.errors import StorageError
from orch.home import locked
from orch.training import arrays, eviction, shards
from orch.training.arrays import ArrayStore, address
from orch.training.shards import Layout

KEY = {"what": "test", "of": [1, 2]}
LAYOUT = Layout((10, 10), "float32", step=2)
WHOLE = np.arange(100, dtype=np.float32).reshape(10, 10)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_ROWS", 4)
    monkeypatch.setattr(shards, "LEAST_SHARDS", 1)


class Counting:
    """Computes rows of WHOLE and remembers which."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        self.calls.append((start, stop))
        return WHOLE[start:stop]


EVERY = [(0, 4), (4, 8), (8, 10)]


def end(building: Generator[int, None, NDArray[Any]]) -> tuple[list[int], NDArray[Any]]:
    """Build to the end: what was yielded, and the array."""
    seen: list[int] = []
    while True:
        try:
            seen.append(next(building))
        except StopIteration as done:
            return seen, done.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def compute() -> Counting:
    return Counting()


@pytest.fixture
def get(folder: Path, compute: Counting) -> Callable[..., NDArray[Any]]:
    """Ask a fresh store, as another process would."""

    def ask(**options: bool) -> NDArray[Any]:
        return end(ArrayStore(folder, **options).build(KEY, LAYOUT, compute))[1]

    return ask


def place_of(folder: Path) -> Path:
    name = address(KEY)
    return folder / name[:2] / name


def published(folder: Path) -> list[str]:
    """Every file of a store but locks, which say nothing, and notes of who used an array."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "held") and path.parent.name != "uses"
    )


PROLOGUE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from orch.errors import StorageError
from orch.home import locked
from orch.training import arrays, eviction, shards
from orch.training.arrays import ArrayStore
from orch.training.shards import Layout
shards.MOST_ROWS, shards.LEAST_SHARDS = 4, 1
WHOLE = np.arange(100, dtype=np.float32).reshape(10, 10)
def build(compute):
    building = ArrayStore(Path(sys.argv[1])).build(KEY, Layout((10, 10), "float32", 2), compute)
    while True:
        try:
            next(building)
        except StopIteration as done:
            return done.value
""".replace("KEY", repr(KEY))


# ── built once ──────────────────────────────────────────────────────────────────────────────


def test_an_array_is_built_once_shard_by_shard(folder: Path, compute: Counting) -> None:
    store = ArrayStore(folder)
    seen, first = end(store.build(KEY, LAYOUT, compute))
    assert seen == [4, 8, 10]
    again, second = end(store.build(KEY, LAYOUT, compute))
    assert again == []
    assert np.array_equal(second, first)
    assert compute.calls == EVERY
    assert np.array_equal(first, WHOLE)
    assert first.dtype == np.float32


def test_another_store_finds_it(get: Callable[..., NDArray[Any]], compute: Counting) -> None:
    assert np.array_equal(get(), get())
    assert compute.calls == EVERY


def test_another_process_finds_it(get: Callable[..., NDArray[Any]], folder: Path) -> None:
    get()
    code = f"{PROLOGUE}\nprint(build(lambda start, stop: sys.exit('was built again')).sum())"
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"{WHOLE.sum()}\n", "")


def test_it_is_mapped_and_read_only(get: Callable[..., NDArray[Any]]) -> None:
    for array in (get(), get()):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


def test_what_is_published_says_what_it_is(get: Callable[..., NDArray[Any]], folder: Path) -> None:
    get()
    assert published(folder) == ["data.npy", "manifest.json"]
    manifest = json.loads((place_of(folder) / "manifest.json").read_text())
    assert manifest["key"] == KEY
    assert manifest["bytes"] == (place_of(folder) / "data.npy").stat().st_size
    assert [size for size, _ in manifest["shards"]] == [160, 160, 80]


def test_other_keys_are_other_arrays(folder: Path) -> None:
    store = ArrayStore(folder)
    made = [
        end(store.build({"n": n}, Layout((3,), "int64"), lambda a, b, n=n: np.full(b - a, n)))[1]
        for n in range(3)
    ]
    assert [array.tolist() for array in made] == [[n] * 3 for n in range(3)]


def test_an_array_may_be_empty(folder: Path, compute: Counting) -> None:
    for _ in range(2):
        empty = end(ArrayStore(folder).build(KEY, Layout((0, 4), "uint8"), compute))[1]
        assert empty.shape == (0, 4)
    assert compute.calls == []


@given(
    rows=st.integers(0, 3000),
    width=st.integers(1, 50_000),
    step=st.sampled_from([1, 2, 64]),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_shards_are_all_rows_once_in_multiples_of_the_step(
    rows: int, width: int, step: int, dtype: str
) -> None:
    layout = Layout((rows, width), dtype, step)
    found = layout.shards
    assert [row for a, b in found for row in (a, b)][1:-1] == [
        row for a, _ in found[1:] for row in (a, a)
    ]
    assert (found[0][0], found[-1][1]) == (0, rows) if rows else found == []
    assert all((b - a) % step == 0 for a, b in found[:-1])
    largest = max(shards.SHARD_BYTES, step * layout.row_bytes)
    assert all((b - a) * layout.row_bytes <= largest for a, b in found)


def test_small_arrays_are_divided_too_so_that_all_workers_fill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert len(Layout((357, 512), "float32", step=64).shards) == 6
    assert len(Layout((3000, 512), "float32", step=64).shards) == 24


# ── damage ──────────────────────────────────────────────────────────────────────────────────


def _truncate(place: Path) -> None:
    with (place / "data.npy").open("r+b") as file:
        file.truncate(300)


def _flip(place: Path) -> None:
    content = bytearray((place / "data.npy").read_bytes())
    content[-1] ^= 1
    (place / "data.npy").write_bytes(content)


def _extend(place: Path) -> None:
    with (place / "data.npy").open("ab") as file:
        file.write(b"\0")


def _garbage(place: Path) -> None:
    (place / "manifest.json").write_bytes(b"\xff\x00{")


def _list(place: Path) -> None:
    (place / "manifest.json").write_text("[]")


def _no_sums(place: Path) -> None:
    (place / "manifest.json").write_text("{}")


def _cut(place: Path) -> None:
    text = (place / "manifest.json").read_text()
    (place / "manifest.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, _extend, _garbage, _list, _no_sums, _cut], ids=lambda d: d.__name__
)
def test_what_is_damaged_is_set_aside_and_built_again(
    get: Callable[..., NDArray[Any]],
    compute: Counting,
    folder: Path,
    damage: Callable[[Path], None],
) -> None:
    get()
    damage(place_of(folder))
    spoilt = (place_of(folder) / "data.npy").read_bytes()
    assert np.array_equal(get(), WHOLE)
    assert compute.calls == EVERY * 2
    (aside,) = place_of(folder).glob("damaged-*.npy")
    assert aside.read_bytes() == spoilt
    assert np.array_equal(get(), WHOLE)
    assert compute.calls == EVERY * 2


@pytest.mark.parametrize("position", [0, 60, 130, 300, -1])
def test_a_flipped_bit_is_found_wherever_it_is(
    get: Callable[..., NDArray[Any]], compute: Counting, folder: Path, position: int
) -> None:
    get()
    content = bytearray((place_of(folder) / "data.npy").read_bytes())
    content[position] ^= 4
    (place_of(folder) / "data.npy").write_bytes(content)
    assert np.array_equal(get(), WHOLE)
    assert compute.calls == EVERY * 2


@pytest.mark.parametrize("lost", ["manifest.json", "data.npy"])
def test_what_is_lost_is_built_again(
    get: Callable[..., NDArray[Any]], compute: Counting, folder: Path, lost: str
) -> None:
    get()
    (place_of(folder) / lost).unlink()
    assert np.array_equal(get(), WHOLE)
    assert compute.calls == EVERY * 2
    assert published(folder) == ["data.npy", "manifest.json"]


def test_without_verifying_the_size_alone_is_checked(
    get: Callable[..., NDArray[Any]], compute: Counting, folder: Path
) -> None:
    get()
    _flip(place_of(folder))
    get(verify=False)
    assert compute.calls == EVERY
    _truncate(place_of(folder))
    assert np.array_equal(get(verify=False), WHOLE)
    assert compute.calls == EVERY * 2


# ── building that fails, and goes on ────────────────────────────────────────────────────────


def test_what_raises_publishes_nothing_and_what_was_done_stays(
    folder: Path, compute: Counting
) -> None:
    def half(start: int, stop: int) -> NDArray[Any]:
        if start >= 4:
            raise RuntimeError("cannot decode")
        return WHOLE[start:stop]

    store = ArrayStore(folder)
    with pytest.raises(RuntimeError, match="cannot decode"):
        end(store.build(KEY, LAYOUT, half))
    assert not (place_of(folder) / "manifest.json").exists()
    assert np.array_equal(end(store.build(KEY, LAYOUT, compute))[1], WHOLE)
    assert compute.calls == [(4, 8), (8, 10)]
    assert published(folder) == ["data.npy", "manifest.json"]


def test_rows_of_another_shape_are_refused(folder: Path) -> None:
    store = ArrayStore(folder)
    with pytest.raises(ValueError, match=r"rows 0 to 4 came as \(4, 3\)"):
        end(store.build(KEY, LAYOUT, lambda start, stop: np.zeros((stop - start, 3))))
    assert not (place_of(folder) / "manifest.json").exists()


def test_building_may_be_given_up_between_shards(folder: Path, compute: Counting) -> None:
    store = ArrayStore(folder)
    building = store.build(KEY, LAYOUT, compute)
    assert next(building) == 4
    building.close()
    assert np.array_equal(end(ArrayStore(folder).build(KEY, LAYOUT, compute))[1], WHOLE)
    assert compute.calls == EVERY


@pytest.mark.parametrize("at", [0, 4, 8])
def test_a_builder_killed_in_the_middle_leaves_what_it_had_done(
    get: Callable[..., NDArray[Any]], compute: Counting, folder: Path, at: int
) -> None:
    code = f"""{PROLOGUE}
def compute(start, stop):
    if start == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return WHOLE[start:stop]
build(compute)
"""
    ran = subprocess.run([sys.executable, "-c", code, folder])
    assert ran.returncode == -signal.SIGKILL
    assert not (place_of(folder) / "data.npy").exists()
    assert not (place_of(folder) / "manifest.json").exists()
    assert np.array_equal(get(), WHOLE)
    assert compute.calls == [shard for shard in EVERY if shard[0] >= at]
    assert published(folder) == ["data.npy", "manifest.json"]


@pytest.mark.parametrize("step", ["fdatasync", "fsync", "replace", "posix_fallocate"])
@pytest.mark.parametrize("call", [1, 2, 3, 5, 8])
def test_a_builder_killed_at_any_write_is_gone_on_from(
    get: Callable[..., NDArray[Any]], folder: Path, step: str, call: int
) -> None:
    code = f"""{PROLOGUE}
import itertools
whole, calls = os.{step}, itertools.count(1)
def dying(*words):
    if next(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*words)
os.{step} = dying
build(lambda start, stop: WHOLE[start:stop])
"""
    subprocess.run([sys.executable, "-c", code, folder])
    assert np.array_equal(get(), WHOLE)
    assert published(folder) == ["data.npy", "manifest.json"]


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
@pytest.mark.parametrize("count", [400_000, 200_000], ids=["too large", "no room left"])
def test_a_full_disk_raises_and_publishes_nothing(small_disk: Path, count: int) -> None:
    (small_disk / "ballast").write_bytes(bytes(100_000))
    store = ArrayStore(small_disk / "store", limit=10**9)
    with pytest.raises(OSError, match="No space left") as caught:
        end(store.build({}, Layout((count,), "uint8"), lambda a, b: np.ones(b - a)))
    assert caught.value.errno == errno.ENOSPC
    assert published(small_disk / "store") == []
    (small_disk / "ballast").unlink()
    array = end(store.build({}, Layout((9,), "uint8"), lambda a, b: np.ones(b - a)))[1]
    assert array.sum() == 9


# ── several processes ───────────────────────────────────────────────────────────────────────


def test_processes_share_the_work_and_do_none_of_it_twice(folder: Path, tmp_path: Path) -> None:
    code = f"""{PROLOGUE}
def compute(start, stop):
    with Path(sys.argv[2]).open('a') as file: file.write(f'{{start}} {{os.getpid()}}\\n')
    time.sleep(0.3)
    return WHOLE[start:stop]
print('ready', flush=True); sys.stdin.readline()
print(build(compute).sum())
"""
    log = tmp_path / "log"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=30)[0] for process in processes]
    assert answers == [f"{WHOLE.sum()}\n"] * 3
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(int(start) for start, _ in lines) == [0, 4, 8]
    assert len({worker for _, worker in lines}) >= 2
    assert published(folder) == ["data.npy", "manifest.json"]


# ── addresses ───────────────────────────────────────────────────────────────────────────────

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)
)
KEYS = st.dictionaries(st.text(max_size=5), PLAIN | st.lists(PLAIN, max_size=3), max_size=5)


@given(KEYS, st.randoms(use_true_random=False))
def test_the_order_of_a_key_says_nothing(key: dict[str, Any], random: Any) -> None:
    items = list(key.items())
    random.shuffle(items)
    assert address(dict(items)) == address(key)


@given(KEYS.filter(bool), st.data())
def test_another_value_is_another_address(key: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(key)))
    value = data.draw(PLAIN.filter(lambda value: repr(value) != repr(key[name])))
    assert address({**key, name: value}) != address(key)
    assert address({other: key[other] for other in key if other != name}) != address(key)


def test_an_address_does_not_change_between_releases() -> None:
    assert address({"b": 1, "a": ["é", 0.5, None]}) == (
        "f3bb6cfbc7f0681819759c86f5f535c90b3639fcad285aa410af30b16a7f82cb"
    )


# ── what is in the way of it ────────────────────────────────────────────────────────────────


def test_a_disk_that_is_full_at_the_last_write_costs_nothing_that_was_filled(
    folder: Path, compute: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, document: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "write_json", refused)
        with pytest.raises(OSError, match="No space left"):
            end(ArrayStore(folder).build(KEY, LAYOUT, compute))
    assert (place_of(folder) / "data.npy.part").exists()
    seen, array = end(ArrayStore(folder).build(KEY, LAYOUT, compute))
    assert (seen, compute.calls) == ([], EVERY)
    assert np.array_equal(array, WHOLE)


def test_one_killed_between_the_name_and_the_manifest_is_gone_on_from(
    folder: Path, compute: Counting
) -> None:
    building = ArrayStore(folder).build(KEY, LAYOUT, compute)
    assert [next(building) for _ in EVERY] == [4, 8, 10]
    building.close()
    place = place_of(folder)
    (place / "data.npy.part").rename(place / "data.npy")
    array = end(ArrayStore(folder).build(KEY, LAYOUT, compute))[1]
    assert np.array_equal(array, WHOLE)
    assert compute.calls == EVERY


def test_a_store_removed_while_it_is_filled_is_said_at_once(
    folder: Path, compute: Counting
) -> None:
    building = ArrayStore(folder).build(KEY, LAYOUT, compute)
    next(building)
    shutil.rmtree(folder)
    with pytest.raises(StorageError, match="was removed while it was filled"):
        end(building)


def test_a_file_that_the_computing_misses_is_no_removed_store(folder: Path) -> None:
    def missing(start: int, stop: int) -> NDArray[Any]:
        raise FileNotFoundError(errno.ENOENT, "No such file", "picture.png")

    with pytest.raises(FileNotFoundError, match=r"picture\.png"):
        end(ArrayStore(folder).build(KEY, LAYOUT, missing))


def test_what_was_released_and_deleted_takes_no_disk(folder: Path, compute: Counting) -> None:
    store = ArrayStore(folder)
    end(store.build(KEY, LAYOUT, compute))
    store.release()
    (found,) = eviction.stored(folder)
    assert eviction.delete(found)
    assert f"{folder}" not in Path("/proc/self/maps").read_text()


def test_checking_says_that_it_is_alive_and_locks_nobody_out(
    folder: Path, get: Callable[..., NDArray[Any]], compute: Counting
) -> None:
    get()
    beats: list[bool] = []

    def beat() -> None:
        with locked(place_of(folder) / "lock", wait=False):
            beats.append(True)

    assert end(ArrayStore(folder, beat=beat).build(KEY, LAYOUT, compute))[0] == []
    assert len(beats) == 1 + len(EVERY)


def test_what_is_reserved_is_not_missing(folder: Path, compute: Counting) -> None:
    store, other = ArrayStore(folder), ArrayStore(folder)
    assert store.missing(KEY, LAYOUT.bytes, "one") == LAYOUT.bytes
    building = store.build(KEY, LAYOUT, compute, user="one")
    next(building)
    assert other.missing(KEY, LAYOUT.bytes, "two") == 0  # held, so nobody deletes it
    building.close()
    store.release()
    assert other.missing(KEY, LAYOUT.bytes, "one") == 0  # begun by the same sweep
    assert other.missing(KEY, LAYOUT.bytes, "two") == LAYOUT.bytes
    end(store.build(KEY, LAYOUT, compute))
    assert other.missing(KEY, LAYOUT.bytes, "two") == 0
