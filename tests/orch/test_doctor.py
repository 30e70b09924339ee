"""What doctor says of what is missing, damaged or does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from orch import doctor, registry
from orch.cluster import head
from orch.home import Home
from orch.sweeps import provenance


def tool(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, before all others."""
    folder.mkdir()
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("not a program", "nvidia-smi did not answer"),
        ("#!/bin/sh\nexit 9\n", "nvidia-smi failed"),
        ("#!/bin/sh\necho 'GPU 0: H100 (UUID: x)'\n", "GPU 0: H100"),
    ],
)
def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: str) -> None:
    tool(tmp_path / "bin", "nvidia-smi", text, monkeypatch)
    finding = doctor._gpus()
    assert finding.found.startswith(found)
    assert finding.good == (found == "GPU 0: H100")


def test_a_library_that_is_missing() -> None:
    finding = doctor._library("no-such-library")
    assert (finding.found, finding.good) == ("missing", False)
    assert finding.advice == "pip install no-such-library"


def test_weights_whose_manifest_is_damaged(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.weights.mkdir(parents=True)
    (home.weights / "vgg16.json").write_text("{")
    finding = doctor._weights(home, 20.0)
    assert not finding.good
    assert finding.found.endswith("vgg16.json is damaged")
    assert finding.advice == "orch backbones add vgg16"


def test_data_whose_manifest_is_damaged(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (home.datasets / "digits").mkdir(parents=True)
    (home.datasets / "digits" / "manifest.json").write_text("{}")
    finding = doctor._dataset(home, registry.load_dataset("digits").facts)
    assert not finding.good
    assert "is damaged; the data beside it was not touched" in finding.found
    assert finding.advice == "orch datasets add digits"


def test_no_git_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() is None


def test_a_head_that_does_not_answer_three_times_is_gone() -> None:
    alive = head.at("127.0.0.1:9")
    assert [alive() for _ in range(4)] == [True, True, False, False]
