"""`orch sweep --dry-run`: what would run, what would be stored, and what both take."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from orch.training import timing
from orch.training.timing import Costs

WORDS = ("sweep", "digits", "--trials", "12", "--limit", "200", "--dry-run")
KNOWN = {
    0: Costs(0.0, 0.03, 0.01, 3072, 0.5, 5.0),
    8: Costs(0.004, 0.02, 0.006, 32768, 0.5, 5.0),
    15: Costs(0.006, 0.01, 0.004, 16384, 0.5, 5.0),
    22: Costs(0.008, 0.005, 0.002, 8192, 0.5, 5.0),
    26: Costs(0.01, 0.001, 0.0001, 512, 0.5, 5.0),
}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Costs that were not measured, and a note of each time they are asked for."""
    asked: list[str] = []

    def measure(wanted: Any, machine: Any) -> dict[int, Costs]:
        asked.append(wanted.network.name)
        return {cut: KNOWN[cut] for cut in wanted.cuts}

    monkeypatch.setattr(timing, "_measured", measure)
    return asked


def test_the_plan_says_what_is_stored_and_what_that_spares(
    orch: Callable[..., Any], measured: list[str]
) -> None:
    shown = orch(*WORDS)
    assert shown.code == 0
    assert "measuring vgg-mini on this machine, once" in shown.err
    row = next(line for line in shown.out.splitlines() if line.startswith("block4_pool"))
    assert row.split()[1] == "26"
    assert row.endswith("stored")
    assert "expected for 12 trials to their last epoch" in shown.err
    orch(*WORDS)
    assert measured == ["vgg-mini"], "it is measured once"
    orch(*WORDS, "--measure")
    assert measured == ["vgg-mini"] * 2, "or when that is wanted"
    refused = orch("sweep", "digits", "--measure")
    assert refused.code == 2
    assert "--measure is for --dry-run; nothing was started" in refused.err


def test_the_plan_as_json(orch: Callable[..., Any], measured: list[str]) -> None:
    document = json.loads(orch(*WORDS, "--json").out)
    expected = document["expected"]
    assert 0 < expected["fill"] < expected["stored"] < expected["online"]
    assert all(each["kept"] for each in expected["features"])


def test_what_does_not_fit_is_not_stored(
    orch: Callable[..., Any], measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_CACHE_BYTES", str(200 * 9000))
    document = json.loads(orch(*WORDS, "--json").out)
    kept = {each["name"]: each["kept"] for each in document["expected"]["features"]}
    assert kept["block4_pool"]
    assert not kept["block1_pool"]


def test_augmentation_stores_nothing_and_says_why(
    orch: Callable[..., Any], measured: list[str]
) -> None:
    shown = orch(*WORDS, "--strategy", "augmented", "-S", "flip=true")
    assert "nothing is computed once: augmentation changes the examples" in shown.err


def test_nothing_is_recorded(orch: Callable[..., Any], measured: list[str], tmp_path: Path) -> None:
    orch(*WORDS)
    assert "no sweep was run yet" in orch("sweeps").err


@pytest.mark.slow
def test_a_sweep_records_what_was_expected_of_it(orch: Callable[..., Any]) -> None:
    """Really measured, and really run."""
    words = ("sweep", "digits", "--trials", "2", "--limit", "100", "-S", "epochs=1")
    planned = json.loads(orch(*words, "--dry-run", "--json").out)
    document = json.loads(orch(*words, "--json").out)
    assert document["expected_seconds"] == pytest.approx(planned["expected"]["stored"])
    shown = orch("sweeps", "show", document["id"])
    assert "trials took" in shown.out
    assert any(line.startswith("expected") for line in shown.out.splitlines())


def test_a_measuring_process_that_is_killed_is_no_bug(
    orch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(timing.ProcessPoolExecutor, "submit", killed)
    ran = orch(*WORDS)
    assert ran.code == 7
    assert "a process that measured vgg-mini was killed, most likely for want of memory" in ran.err
    assert "--concurrent 1" in ran.err
