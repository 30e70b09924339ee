"""The client of the command line and a real server, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from api_client import NIGHTLY, TOKEN, Api, api, completed
from in_process import listening

from orch.errors import ClusterError, NotFoundError, UsageError
from orch.home import Home
from orch.service import serve
from orch.service.client import Client
from orch.settings import Settings


@pytest.fixture
def url(tmp_path: Path) -> Generator[str]:
    """A server over a database of the test's own, as `orch serve` listens."""
    with api(Home(tmp_path / "server")) as found, listening(found.application) as at:
        yield at


def test_answers_are_sent_at_once() -> None:
    """Only of sockets that name their protocol asyncio sets TCP_NODELAY."""
    with closing(serve._listening(Settings(port=0))) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_whatever_a_client_asks_the_server_takes(url: str) -> None:
    client = Client(url, TOKEN)
    assert client.ask("GET", "/queue")["queue"] == []
    assert client.ask("POST", "/schedules", dict(NIGHTLY))["name"] == "nightly"
    assert client.ask("POST", "/schedules/nightly/pause")["state"] == "paused"
    assert client.ask("GET", "/schedules/nightly/next", query={"count": 2})["next"]
    assert client.ask("DELETE", "/schedules/nightly")["name"] == "nightly"
    with pytest.raises(NotFoundError, match="no schedule is called 'nightly'"):
        client.ask("DELETE", "/schedules/nightly")


def test_a_client_says_what_it_was_refused_with(url: str) -> None:
    with pytest.raises(UsageError, match="refuses the token") as refused:
        Client(url, "another-token-than-that").ask("GET", "/queue")
    assert "cat HOME/token" in refused.value.hint
    with pytest.raises(UsageError, match="asks for a token, and this home has none"):
        Client(url, "").ask("GET", "/queue")
    with pytest.raises(NotFoundError, match="did you mean digits"):
        Client(url, TOKEN).ask("POST", "/sweeps", {"dataset": "digit"})
    with pytest.raises(ClusterError, match="did not answer"):
        Client("http://127.0.0.1:9", TOKEN).ask("GET", "/queue")
    with pytest.raises(UsageError, match="which is no URL"):
        Client("file:///etc/passwd", TOKEN)


def test_commands_ask_the_service_that_orch_url_names(
    url: str, orch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCH_URL", url)
    monkeypatch.setenv("ORCH_TOKEN", TOKEN)
    added = orch("schedules", "add", "nightly", "0 2 * * *", "digits", "--trials", "3")
    assert added.code == 0, added.err
    assert "nightly" in orch("schedules").out
    assert orch("schedules", "run-now", "nightly").code == 0
    assert "queued" in orch("queue").out
    removed = orch("schedules", "remove", "nightly")
    assert removed.code == 0, removed.err
    assert orch("schedules", "show", "nightly").code == 3
    assert not (tmp_path / "home" / "orch.db").exists()


# ── what stays on this machine ──────────────────────────────────────────────────────────────


def words_of_local(folder: Path) -> dict[str, tuple[str, ...]]:
    """Commands that need the weights of a trial which the service has."""
    return {
        "evaluate": ("evaluate", "5eed00000001"),
        "predict": ("predict", "5eed00000001", str(folder / "a.png")),
        "export": ("export", "5eed00000001", "--to", str(folder / "a.keras")),
    }


@pytest.mark.parametrize("verb", ["evaluate", "predict", "export"])
def test_a_command_that_needs_weights_says_that_it_looks_here(
    there: Api, orch: Callable[..., Any], tmp_path: Path, verb: str
) -> None:
    there.add(*completed())
    words = words_of_local(tmp_path)[verb]
    refused = orch(*words)
    assert refused.code == 3
    assert f"'5eed00000001' in {tmp_path / 'home'} on this machine; ORCH_URL is not" in refused.err
    assert "try: the same there, without ORCH_URL" in refused.err


def test_what_needs_weights_says_less_without_a_service(
    orch: Callable[..., Any], tmp_path: Path
) -> None:
    refused = orch(*words_of_local(tmp_path)["evaluate"])
    assert refused.code == 3
    assert "ORCH_URL" not in refused.err


def test_notices_are_those_of_this_machine(there: Api, orch: Callable[..., Any]) -> None:
    assert "nothing was told yet in " in (listed := orch("notify")).err
    assert "on this machine; ORCH_URL is not asked" in listed.err
    refused = orch("notify", "test")
    assert refused.code == 2
    assert "no target of notices is set in " in refused.err
    assert "on this machine; ORCH_URL is not asked" in refused.err


def test_a_token_that_is_missing_and_one_that_is_wrong_are_told_apart(
    there: Api, orch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCH_TOKEN")
    missing = orch("queue")
    assert missing.code == 2
    assert "asks for a token, and this home has none" in missing.err
    monkeypatch.setenv("ORCH_TOKEN", "another-token-than-that")
    wrong = orch("queue")
    assert wrong.code == 2
    assert "refuses the token of ORCH_TOKEN or this home" in wrong.err
    assert TOKEN not in wrong.err
