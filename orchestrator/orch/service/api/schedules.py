"""Routes of schedules."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from orch.service import schedules
from orch.service.api.bodies import Id, Schedule, Text
from orch.service.api.here import Here

router = APIRouter(prefix="/schedules", tags=["schedules"])


@router.get("")
def list_schedules(here: Here) -> JSONResponse:
    """All schedules by name."""
    return JSONResponse(schedules.listing(here))


@router.post("", status_code=201)
def add_schedule(here: Here, body: Schedule) -> JSONResponse:
    """Store a schedule."""
    return JSONResponse(schedules.add(here, body.wish()), 201)


@router.get("/{schedule}")
def show_schedule(here: Here, schedule: Id) -> JSONResponse:
    """A schedule and its last fires."""
    return JSONResponse(schedules.document(here, schedule))


@router.delete("/{schedule}")
def remove_schedule(here: Here, schedule: Id) -> JSONResponse:
    """Forget a schedule; its sweeps stay."""
    return JSONResponse(schedules.remove(here, schedule))


@router.post("/{schedule}/pause")
def pause_schedule(here: Here, schedule: Id) -> JSONResponse:
    """Let nothing fire until it is resumed."""
    return JSONResponse(schedules.pause(here, schedule))


@router.post("/{schedule}/resume")
def resume_schedule(here: Here, schedule: Id) -> JSONResponse:
    """Let it fire again from now on."""
    return JSONResponse(schedules.resume(here, schedule))


@router.post("/{schedule}/run-now", status_code=202)
def run_schedule(here: Here, schedule: Id) -> JSONResponse:
    """Fire at once, beside what is due."""
    return JSONResponse(schedules.run_now(here, schedule), 202)


@router.get("/{schedule}/next")
def show_next(
    here: Here, schedule: Id, count: Annotated[int, Query(ge=1, le=1000)] = 5
) -> JSONResponse:
    """When it is due next."""
    return JSONResponse(schedules.following(here, schedule, count))


@router.get("/{schedule}/history")
def show_history(
    here: Here,
    schedule: Id,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Text | None = None,
) -> JSONResponse:
    """What became of its instants, the latest first."""
    return JSONResponse(schedules.history(here, schedule, limit, before))
