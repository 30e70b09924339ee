"""The client of the command line and a real server, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from api_client import NIGHTLY, TOKEN, api
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
