"""Rows that tests of the database begin with."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import select

from orch_db.connect import open_engine
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.tables import Base


def sweep(id: str = "s1", **changes: Any) -> SweepRecord:
    plain = SweepRecord(
        id=id,
        name="digits-fine-tune",
        state="queued",
        dataset="digits",
        strategy="fine-tune",
        backbone="vgg-mini",
        metric="val_accuracy",
        direction="maximize",
        board="board",
        spec={"limit": None, "space": {"rate": "log(1e-5,1e-2)"}},
        versions={"orch": "0.1"},
        git_commit="abc",
        created_at="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(plain, **changes)


def trial(id: str = "t1", **changes: Any) -> TrialRecord:
    plain = TrialRecord(
        id=id,
        sweep_id="s1",
        number=0,
        board="board",
        state="queued",
        attempt=1,
        seed=3,
        params={"rate": 1e-4, "kind": "adam", "units": 8, "on": True},
        created_at="2026-01-01T00:00:01+00:00",
    )
    return dataclasses.replace(plain, **changes)


def epoch(number: int = 1, **changes: Any) -> EpochRecord:
    plain = EpochRecord(
        trial_id="t1",
        attempt=1,
        epoch=number,
        stage=0,
        metrics={"val_accuracy": 0.1 * number},
        seconds=1.5,
        reported_at="2026-01-01T00:01:00+00:00",
    )
    return dataclasses.replace(plain, **changes)


def dump(url: str) -> dict[str, list[Any]]:
    """All that a database holds."""
    engine = open_engine(url, write=False)
    with engine.connect() as connection:
        found = {
            table.name: sorted(connection.execute(select(table)).all(), key=repr)
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    return found
