"""The HTTP API in this process, over a database of the test's own, and a client that may ask it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import orch_db_rows
from fastapi.testclient import TestClient
from sqlalchemy import insert

from orch.home import Home
from orch.service import access
from orch.service.access import Access
from orch.service.api import app
from orch.service.state import Service, serving
from orch.settings import Settings
from orch_db.connect import open_engine
from orch_db.records import SweepRecord, TrialRecord
from orch_db.tables import Sweep, Trial

ROOT = "/api/v1"
TOKEN = "a-token-of-the-tests-that-nobody-else-has"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}
NIGHTLY = {
    "name": "nightly",
    "cron": "0 2 * * *",
    "timezone": "Europe/Berlin",
    "sweep": {"dataset": "digits", "trials": 3},
}


@dataclass(frozen=True)
class Api:
    """A service, its application behind the guard, and a client with the token."""

    service: Service
    application: Callable[..., Any]
    client: TestClient
    url: str

    def add(self, sweep: SweepRecord, *trials: TrialRecord) -> None:
        """Record a sweep and its trials as they are, whatever led to them."""
        engine = open_engine(self.url, write=True)
        with engine.begin() as connection:
            connection.execute(insert(Sweep).values(**_row(sweep)))
            for trial in trials:
                connection.execute(insert(Trial).values(**_row(trial)))
        engine.dispose()

    def queue(self, **words: Any) -> str:
        """Queue a sweep through the API; returns its id."""
        answer = self.client.post("/api/v1/sweeps", json={"dataset": "digits", **words})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


def _row(record: SweepRecord | TrialRecord) -> dict[str, Any]:
    row = asdict(record)
    if isinstance(record, SweepRecord):
        del row["trials"]
    return row


def client_of(application: Callable[..., Any], **headers: str) -> TestClient:
    """A client with headers of its own; what the application raises, it answers 500."""
    return TestClient(
        application,
        base_url="http://localhost",
        headers=headers,
        raise_server_exceptions=False,
        follow_redirects=False,
    )


@contextmanager
def api(home: Home, url: str = "", **values: Any) -> Generator[Api]:
    """The API of a home, over its own database or another."""
    home.create()
    url = url or f"sqlite:///{home.database}"
    settings = replace(Settings(home=str(home.root), token=TOKEN), **values)
    with serving(settings, home, url, "test:1:a") as service:
        allowed = access.allow(settings, home)
        application = app.make(service, allowed)
        yield Api(service, application, client_of(application, **HEADERS), url)


def unguarded() -> Any:
    """All routes of the API, which no test may ask without their guard."""
    return app.routes()


def guarded(service: Service, token: str = TOKEN) -> Any:
    """The application of a service that has another token."""
    return app.make(service, Access(token, access.LOCAL))


def completed(identity: str = "5eed0000aaaa", scores: tuple[float, ...] = (0.5, 0.9, 0.7)) -> Any:
    """A sweep that has completed, and its trials."""
    made = "2026-01-01T00:00:00.000+00:00"
    sweep = orch_db_rows.sweep(
        identity,
        state="completed",
        finished_at="2026-01-01T01:00:00.000+00:00",
        created_at=made,
        spec={"limit": 100, "space": {"rate": "log(1e-5,1e-2)"}, "trials": len(scores)},
    )
    trials = [
        orch_db_rows.trial(
            f"{identity[:4]}{number:08d}",
            sweep_id=identity,
            number=number,
            state="completed",
            score=score,
            metrics={"val_accuracy": score},
            finished_at="2026-01-01T00:30:00.000+00:00",
        )
        for number, score in enumerate(scores)
    ]
    return (sweep, *trials)


def problem(answer: Any, status: int) -> dict[str, Any]:
    """What a problem says; fails where the answer is none as RFC 9457 has it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    return document
