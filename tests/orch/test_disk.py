"""What a sweep needs of the disk, and what happens where it is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_sweeps import planned

from orch.errors import StorageError
from orch.home import Home
from orch.planning import disk
from orch.planning.disk import Need
from orch.testing import TINY_BACKBONE
from orch.training import examples
from orch.training.arrays import ArrayStore

TRAINED = sum(layer.parameters for layer in TINY_BACKBONE.layers[3:])


def test_the_need_counts_examples_checkpoints_and_what_runs(tmp_path: Path) -> None:
    made = planned(10, epochs=2, keep=3)
    found = disk.need(made, Home(tmp_path / "nowhere" / "yet"), concurrent=2)
    height, width = made.first_plan.image.size
    assert found.examples == (100 + 9) * height * width * 3
    assert found.checkpoints == 3 * TRAINED * 4
    assert found.snapshots == 2 * 4 * TRAINED * 4
    assert found.total == found.examples + found.checkpoints + found.snapshots
    assert found.free > 0


def test_no_more_checkpoints_than_trials(tmp_path: Path) -> None:
    one, ten = planned(1, 2, keep=3), planned(10, 2, keep=3)
    home = Home(tmp_path)
    assert disk.need(ten, home, 1).checkpoints == 3 * disk.need(one, home, 1).checkpoints > 0


def test_examples_that_are_stored_are_not_counted(tmp_path: Path) -> None:
    made, home = planned(1, epochs=1), Home(tmp_path)
    size = made.first_plan.image.size
    store = ArrayStore(home.store)
    for role in made.chosen:
        layout = examples.layout(role, size)
        key = examples.key(made.spec.dataset_digest, role, size)
        for _ in store.build(key, layout, lambda a, b: np.zeros((b - a, *size, 3), np.uint8)):
            pass
    assert disk.need(made, home, 1).examples == 0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    enough = Need(examples=600, checkpoints=300, snapshots=100, free=1000, store=600)
    disk.require(enough, Home(tmp_path))
    with pytest.raises(StorageError, match=r"needs .* MB in .*; nothing was started") as caught:
        disk.require(replace(enough, free=999), Home(tmp_path))
    assert caught.value.exit_code == 5
    assert "orch cache clear" in caught.value.hint
    with pytest.raises(StorageError, match=r"decoded examples take .* MB, the store in") as caught:
        disk.require(replace(enough, store=599), Home(tmp_path))
    assert "ORCH_CACHE_BYTES" in caught.value.hint


def test_the_need_knows_what_the_store_may_take(tmp_path: Path) -> None:
    made, home = planned(1, epochs=1), Home(tmp_path)
    assert disk.need(made, home, 1, limit=1000).store == 1000
    assert disk.need(made, home, 1).store == pytest.approx(
        disk.need(made, home, 1).free / 2, rel=0.1
    )


def test_examples_that_are_being_decoded_are_not_counted_twice(tmp_path: Path) -> None:
    made, home = planned(1, epochs=1), Home(tmp_path)
    size = made.first_plan.image.size
    store = ArrayStore(home.store)
    layout = examples.layout(made.chosen[0], size)
    key = examples.key(made.spec.dataset_digest, made.chosen[0], size)
    compute = lambda a, b: np.zeros((b - a, *size, 3), np.uint8)  # noqa: E731
    next(store.build(key, layout, compute, user=made.spec.id))
    assert disk.need(made, home, 1).examples == examples.layout(made.chosen[1], size).bytes


@pytest.mark.parametrize("small_disk", ["6m"], indirect=True)
def test_a_sweep_that_does_not_fit_is_not_started(
    orch, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(small_disk / "home"))
    ran = orch("sweep", "digits", "--trials", "2", "--keep", "2", "-S", "image_size=224")
    assert ran.code in (2, 5), ran.err
    ran = orch("sweep", "digits", "--trials", "2", "--keep", "2")
    assert ran.code == 5, ran.err
    assert "are free; nothing was started" in ran.err
    assert "orch cache clear" in ran.err
    assert orch("sweeps", "--json").out.count('"id"') == 0
