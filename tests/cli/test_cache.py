"""`orch cache`: what it lists, what it deletes, what it leaves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orch.training import eviction
from orch.training.arrays import ArrayStore
from orch.training.shards import Layout


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArrayStore:
    """A store with two arrays, of which one was not used for two days."""
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    folder = tmp_path / "store"
    for title in ("block4_pool of vgg16, birds, train", "examples of birds, train"):
        layout = Layout((50, 10), "uint8")
        made = ArrayStore(folder)
        for _ in made.build(
            {"title": title}, layout, lambda a, b: np.zeros((b - a, 10)), title, "5weeps01"
        ):
            pass
        made.release()
    old = next(each for each in eviction.stored(folder) if each.title.startswith("examples"))
    for path in (old.place / eviction.USES, old.place / eviction.MANIFEST):
        os.utime(path, times=(time.time() - 2 * 86_400,) * 2)
    return ArrayStore(folder)


def arrays(orch: Callable[..., Any]) -> dict[str, Any]:
    found = json.loads(orch("cache", "--json").out)
    return {each["title"]: each for each in found["arrays"]}


def test_what_is_stored_is_listed(orch: Callable[..., Any], store: ArrayStore) -> None:
    shown = orch("cache")
    assert shown.code == 0
    first, second = shown.out.splitlines()[1:]
    assert "block4_pool of vgg16, birds, train" in first
    assert "examples of birds, train" in second
    assert first.split()[-1] == "stored"
    assert "that the store may take" in shown.err
    document = json.loads(orch("cache", "--json").out)
    assert document["bytes"] == 2 * (500 + 128)
    assert document["arrays"][0]["sweeps"] == ["5weeps01"]
    assert orch("cache", "--csv").out.count("\n") == 3


def test_everything_is_cleared(orch: Callable[..., Any], store: ArrayStore) -> None:
    cleared = orch("cache", "clear")
    assert (cleared.code, cleared.out) == (0, "")
    assert "1.3 kB freed, 2 arrays deleted" in cleared.err
    assert "nothing is stored yet" in orch("cache").err


def test_what_was_used_lately_may_stay(orch: Callable[..., Any], store: ArrayStore) -> None:
    orch("cache", "clear", "--unused-for", "1d")
    assert arrays(orch).keys() == {"block4_pool of vgg16, birds, train"}


def test_one_is_cleared_by_its_id(orch: Callable[..., Any], store: ArrayStore) -> None:
    wanted = arrays(orch)["examples of birds, train"]["id"]
    orch("cache", "clear", wanted[:8])
    assert arrays(orch).keys() == {"block4_pool of vgg16, birds, train"}


def test_an_id_that_is_none(orch: Callable[..., Any], store: ArrayStore) -> None:
    refused = orch("cache", "clear", "zzz")
    assert refused.code == 3
    assert "nothing in the store has an id that begins with 'zzz'" in refused.err
    assert len(arrays(orch)) == 2


@pytest.mark.parametrize("said", ["ages", "", "1" * 400])
def test_a_duration_that_is_none(orch: Callable[..., Any], store: ArrayStore, said: str) -> None:
    refused = orch("cache", "clear", "--unused-for", said)
    assert refused.code == 2
    assert f"--unused-for {said!r} is no duration" in refused.err
    assert len(arrays(orch)) == 2


def test_what_a_sweep_uses_stays(orch: Callable[..., Any], store: ArrayStore) -> None:
    using = next(each for each in eviction.stored(store._folder) if "block4" in each.title)
    with eviction.hold(using.place):
        assert arrays(orch)[using.title]["in_use"]
        cleared = orch("cache", "clear")
    assert "1 array deleted" in cleared.err
    assert "kept, since running trials use it: 1 array" in cleared.err
    assert arrays(orch).keys() == {using.title}
