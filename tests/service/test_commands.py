"""Commands that leave sweeps to the service: over HTTP where ORCH_URL is set, else by --detach."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from api_client import TOKEN, Api, api
from in_process import listening

from orch.home import Home

SWEEP = ("sweep", "digits", "--trials", "2")


@pytest.fixture
def here(tmp_path: Path) -> Generator[Api]:
    """The service's side of the home in which commands work."""
    with api(Home(tmp_path / "home")) as found:
        yield found


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Api]:
    """A service with a home of its own, which ORCH_URL names."""
    with api(Home(tmp_path / "server")) as found, listening(found.application) as url:
        monkeypatch.setenv("ORCH_URL", url)
        monkeypatch.setenv("ORCH_TOKEN", TOKEN)
        yield found


def queued(found: Api) -> list[str]:
    """The ids of all sweeps of a service."""
    return [each.id for each in found.service.queries.sweeps()]


@pytest.mark.parametrize(
    "option", [("--dry-run",), ("--ray-address", "10.0.0.1:6379")], ids=lambda option: option[0]
)
def test_what_only_this_terminal_can_do_is_refused_and_queues_nothing(
    there: Api, orch: Callable[..., Any], option: tuple[str, ...]
) -> None:
    for words in ((*SWEEP, *option), (*SWEEP, *option, "--detach")):
        refused = orch(*words)
        assert refused.code == 2
        assert f"error: {option[0]} is for a sweep that runs in this terminal" in refused.err
    assert queued(there) == []


def test_a_plan_of_what_is_detached_is_refused(here: Api, orch: Callable[..., Any]) -> None:
    refused = orch(*SWEEP, "--dry-run", "--detach")
    assert refused.code == 2
    assert "leave it out, or go without --detach" in refused.err
    assert queued(here) == []


def test_a_place_in_the_queue_is_refused_where_nothing_is_queued(
    here: Api, orch: Callable[..., Any]
) -> None:
    refused = orch(*SWEEP, "--priority", "3")
    assert refused.code == 2
    assert "--priority 3 --detach" in refused.err
    assert queued(here) == []
