"""A plugin that cannot be imported takes nothing with it but itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orch import registry
from orch.cli import tables
from orch.errors import PluginError

IMPORTS = {
    "raises ImportError": "import no_such_module",
    "exits": "raise SystemExit(3)",
    "is no Python": "def",
    "has no class": "",
}


@pytest.fixture(params=IMPORTS)
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An installed distribution with a dataset and a strategy that cannot be imported."""
    folder = tmp_path / "site"
    about = folder / "broken-1.2.dist-info"
    about.mkdir(parents=True)
    (folder / "orch_broken.py").write_text(IMPORTS[request.param])
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.2\n")
    points = "\n".join(
        f"[orch.{kind}]\nbroken = orch_broken:Plugin" for kind in ("datasets", "strategies")
    )
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
    registry._found.cache_clear()
    yield
    registry._found.cache_clear()
    sys.modules.pop("orch_broken", None)


@pytest.mark.usefixtures("broken")
def test_it_is_named_with_its_distribution() -> None:
    for load in (registry.load_dataset, registry.load_strategy):
        with pytest.raises(PluginError, match=r"'broken' of broken 1\.2 cannot be used") as caught:
            load("broken")
        assert caught.value.exit_code == 6
        assert caught.value.hint == "orch plugins check broken"


@pytest.mark.usefixtures("broken")
def test_the_others_go_on(orch: Callable[..., Any]) -> None:
    ran = orch("sweep", "broken")
    assert ran.code == 6, ran.err
    assert "the plugin 'broken' of broken 1.2 cannot be used" in ran.err
    assert "Traceback" not in ran.err
    ran = orch("recipes")
    assert ran.code == 0, ran.err
    assert "cifar10" in ran.out
    (finding,) = [
        each
        for each in json.loads(orch("doctor", "--json").out)["findings"]
        if each["what"] == "data broken"
    ]
    assert not finding["good"]
    assert "the plugin broken of broken 1.2 is blocked: " in finding["found"]
    assert finding["advice"] == "orch plugins check broken"
    assert tables.chosen_options("broken", {"dataset_options": {"rate": 8}}) == ["rate=8"]


def test_whatever_a_plugin_raises_is_its_own_fault() -> None:
    with pytest.raises(PluginError, match="the dataset 'pets' raised SystemExit: 3"):
        with registry.blaming("dataset", "pets"):
            raise SystemExit(3)
