from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orch.training.arrays import ArrayStore, address

KEY = {"what": "test", "of": [1, 2]}


class Counting:
    """A fill that writes 0, 1, 2, … and counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, array: NDArray[Any]) -> None:
        self.calls += 1
        array[:] = np.arange(array.size).reshape(array.shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def fill() -> Counting:
    return Counting()


@pytest.fixture
def get(folder: Path, fill: Counting) -> Callable[..., NDArray[Any]]:
    """Ask a fresh store, as another process would."""

    def ask(**options: bool) -> NDArray[Any]:
        return ArrayStore(folder, **options).get_or_build(KEY, (10, 10), "float32", fill)

    return ask


def place_of(folder: Path) -> Path:
    name = address(KEY)
    return folder / name[:2] / name


def published(folder: Path) -> list[str]:
    """Every file of a store but the locks, which say nothing."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock")


WHOLE = np.arange(100, dtype=np.float32).reshape(10, 10)


# ── built once ──────────────────────────────────────────────────────────────────────────────


def test_an_array_is_built_once(folder: Path, fill: Counting) -> None:
    store = ArrayStore(folder)
    first = store.get_or_build(KEY, (10, 10), "float32", fill)
    again = store.get_or_build(KEY, (10, 10), "float32", fill)
    assert again is first
    assert fill.calls == 1
    assert np.array_equal(first, WHOLE)
    assert first.dtype == np.float32


def test_another_store_finds_it(get: Callable[..., NDArray[Any]], fill: Counting) -> None:
    assert np.array_equal(get(), get())
    assert fill.calls == 1


def test_another_process_finds_it(get: Callable[..., NDArray[Any]], folder: Path) -> None:
    get()
    code = (
        "import sys; from pathlib import Path; from orch.training.arrays import ArrayStore\n"
        "def fill(array): sys.exit('was built again')\n"
        "store = ArrayStore(Path(sys.argv[1]))\n"
        f"print(store.get_or_build({KEY!r}, (10, 10), 'float32', fill).sum())"
    )
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


def test_other_keys_are_other_arrays(folder: Path) -> None:
    store = ArrayStore(folder)
    made = [
        store.get_or_build({"n": n}, (3,), "int64", lambda array, n=n: array.fill(n))
        for n in range(3)
    ]
    assert [array.tolist() for array in made] == [[n] * 3 for n in range(3)]


def test_an_array_may_be_empty(folder: Path) -> None:
    for _ in range(2):
        empty = ArrayStore(folder).get_or_build(KEY, (0, 4), "uint8", lambda array: None)
        assert empty.shape == (0, 4)


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
    fill: Counting,
    folder: Path,
    damage: Callable[[Path], None],
) -> None:
    get()
    damage(place_of(folder))
    spoilt = (place_of(folder) / "data.npy").read_bytes()
    assert np.array_equal(get(), WHOLE)
    assert fill.calls == 2
    (aside,) = place_of(folder).glob("damaged-*.npy")
    assert aside.read_bytes() == spoilt
    assert np.array_equal(get(), WHOLE)
    assert fill.calls == 2


@pytest.mark.parametrize("lost", ["manifest.json", "data.npy"])
def test_what_is_lost_is_built_again(
    get: Callable[..., NDArray[Any]], fill: Counting, folder: Path, lost: str
) -> None:
    get()
    (place_of(folder) / lost).unlink()
    assert np.array_equal(get(), WHOLE)
    assert fill.calls == 2
    assert published(folder) == ["data.npy", "manifest.json"]


def test_without_verifying_the_size_alone_is_checked(
    get: Callable[..., NDArray[Any]], fill: Counting, folder: Path
) -> None:
    get()
    _flip(place_of(folder))
    get(verify=False)
    assert fill.calls == 1
    _truncate(place_of(folder))
    assert np.array_equal(get(verify=False), WHOLE)
    assert fill.calls == 2


# ── building that fails ─────────────────────────────────────────────────────────────────────


def test_a_fill_that_raises_publishes_nothing(fill: Counting, folder: Path) -> None:
    def half(array: NDArray[Any]) -> None:
        array[:5] = 1
        raise RuntimeError("cannot decode")

    store = ArrayStore(folder)
    with pytest.raises(RuntimeError, match="cannot decode"):
        store.get_or_build(KEY, (10, 10), "float32", half)
    assert published(folder) == []
    array = store.get_or_build(KEY, (10, 10), "float32", fill)
    assert np.array_equal(array, WHOLE)
    assert published(folder) == ["data.npy", "manifest.json"]


def test_a_builder_killed_in_the_middle_publishes_nothing(
    get: Callable[..., NDArray[Any]], fill: Counting, folder: Path
) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from orch.training.arrays import ArrayStore\n"
        "def fill(array):\n"
        "    array[:5] = 1\n"
        "    array.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"ArrayStore(Path(sys.argv[1])).get_or_build({KEY!r}, (10, 10), 'float32', fill)"
    )
    ran = subprocess.run([sys.executable, "-c", code, folder])
    assert ran.returncode == -signal.SIGKILL
    assert not (place_of(folder) / "data.npy").exists()
    assert not (place_of(folder) / "manifest.json").exists()
    assert np.array_equal(get(), WHOLE)
    assert fill.calls == 1
    assert published(folder) == ["data.npy", "manifest.json"]


@pytest.mark.parametrize("small_disk", ["256k"], indirect=True)
@pytest.mark.parametrize("count", [400_000, 200_000], ids=["too large", "no room left"])
def test_a_full_disk_raises_and_publishes_nothing(small_disk: Path, count: int) -> None:
    # In a process of its own: writing to a mapped file on a full disk would kill it.
    (small_disk / "ballast").write_bytes(bytes(100_000))
    code = (
        "import sys; from pathlib import Path; from orch.training.arrays import ArrayStore\n"
        "try:\n"
        "    ArrayStore(Path(sys.argv[1])).get_or_build(\n"
        "        {}, (int(sys.argv[2]),), 'uint8', lambda array: array.fill(1))\n"
        "except OSError as error:\n"
        "    print(error.errno)"
    )
    words = [sys.executable, "-c", code, str(small_disk / "store"), str(count)]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{errno.ENOSPC}\n", "")
    assert published(small_disk / "store") == []
    (small_disk / "ballast").unlink()
    array = ArrayStore(small_disk / "store").get_or_build({}, (9,), "uint8", lambda a: a.fill(1))
    assert array.sum() == 9


# ── several processes ───────────────────────────────────────────────────────────────────────


def test_two_processes_at_once_build_once(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from orch.training.arrays import ArrayStore\n"
        "def fill(array):\n"
        "    with Path(sys.argv[2]).open('a') as file: file.write('built\\n')\n"
        "    time.sleep(0.5)\n"
        "    array[:] = 7\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(ArrayStore(Path(sys.argv[1])).get_or_build({KEY!r}, (10,), 'int64', fill).sum())"
    )
    log = tmp_path / "log"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=30)[0] for process in processes] == ["70\n", "70\n"]
    assert log.read_text() == "built\n"


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
