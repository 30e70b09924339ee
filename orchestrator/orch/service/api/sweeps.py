"""Routes of sweeps, their trials, the leaderboard and the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from orch import views
from orch.service import sweeps
from orch.service.api.bodies import Extension, Id, Place, QueuedSweep, Retry, Text
from orch.service.api.here import Here
from orch.service.api.recent import Recent
from orch.service.state import Service

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=500)]
Top = Annotated[int, Query(ge=1, le=1000)]
RECENT = {"Cache-Control": "private, max-age=1"}
LOOK_SECONDS = 1.0  # between looks at a sweep that is watched
ENDED = ("completed", "failed", "stopped", "paused", "cancelled", "interrupted")


@router.get("/sweeps", tags=["sweeps"])
def list_sweeps(here: Here, limit: Limit = 50, before: Text = "", since: Text = "") -> JSONResponse:
    """Sweeps, newest first; `since` an instant: those that may have changed."""
    return JSONResponse(sweeps.listing(here, limit, before, since))


@router.post("/sweeps", status_code=202, tags=["sweeps"])
def queue_sweep(here: Here, body: QueuedSweep) -> JSONResponse:
    """Queue a sweep."""
    return JSONResponse(sweeps.queue(here, body.words(), body.priority), 202)


@router.get("/sweeps/{sweep}", tags=["sweeps"])
def show_sweep(here: Here, sweep: Id) -> JSONResponse:
    """A sweep, its trials, its place in the queue."""
    return JSONResponse(sweeps.document(here, sweep))


@router.post("/sweeps/{sweep}/pause", tags=["sweeps"])
def pause_sweep(here: Here, sweep: Id) -> JSONResponse:
    """Stop running trials after their epoch; resume goes on from there."""
    return JSONResponse(sweeps.ask(here, sweep, "pause"))


@router.post("/sweeps/{sweep}/stop", tags=["sweeps"])
def stop_sweep(here: Here, sweep: Id) -> JSONResponse:
    """Start nothing new, and let running trials finish."""
    return JSONResponse(sweeps.ask(here, sweep, "stop"))


@router.post("/sweeps/{sweep}/cancel", tags=["sweeps"])
def cancel_sweep(here: Here, sweep: Id) -> JSONResponse:
    """End it now and for good."""
    return JSONResponse(sweeps.ask(here, sweep, "cancel"))


@router.post("/sweeps/{sweep}/resume", status_code=202, tags=["sweeps"])
def resume_sweep(here: Here, sweep: Id, body: Place) -> JSONResponse:
    """Queue it again."""
    return JSONResponse(sweeps.resume(here, sweep, body.priority), 202)


@router.post("/sweeps/{sweep}/fork", status_code=202, tags=["sweeps"])
def fork_sweep(here: Here, sweep: Id, body: Place) -> JSONResponse:
    """Queue a new sweep from it."""
    return JSONResponse(sweeps.fork(here, sweep, body.priority), 202)


@router.post("/sweeps/{sweep}/extend", tags=["sweeps"])
def extend_sweep(here: Here, sweep: Id, body: Extension) -> JSONResponse:
    """Give it more trials."""
    return JSONResponse(sweeps.extend(here, sweep, body.trials, body.priority, in_all=body.in_all))


@router.post("/sweeps/{sweep}/retry", status_code=202, tags=["sweeps"])
def retry_sweep(here: Here, sweep: Id, body: Retry) -> JSONResponse:
    """Queue its failed trials again."""
    return JSONResponse(sweeps.retry(here, sweep, body.classes, body.priority), 202)


@router.get("/sweeps/{sweep}/log", tags=["sweeps"])
def show_log(
    here: Here, sweep: Id, start: Annotated[int, Query(ge=0, le=2**50)] = 0
) -> JSONResponse:
    """What its process said, from a byte of the log on."""
    return JSONResponse(sweeps.log(here, sweep, start))


@router.get("/sweeps/{sweep}/events", tags=["sweeps"], response_class=StreamingResponse)
async def watch_sweep(here: Here, sweep: Id, request: Request) -> StreamingResponse:
    """Server-sent events: the sweep whenever it changes, until it ends."""
    record = await asyncio.to_thread(here.sweep, sweep)
    return StreamingResponse(_events(here, record.id, request), media_type="text/event-stream")


async def _events(here: Service, sweep_id: str, request: Request) -> AsyncIterator[str]:
    last = ""
    while not await request.is_disconnected():
        document = await asyncio.to_thread(_progress, here, sweep_id)
        text = json.dumps(document)
        yield f"event: sweep\ndata: {text}\n\n" if text != last else ": still here\n\n"
        last = text
        if document["state"] in ENDED and not _waits(document):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _waits(document: dict[str, Any]) -> bool:
    return bool(document["job"] and document["job"]["state"] != "ended")


def _progress(here: Service, sweep_id: str) -> dict[str, Any]:
    record, job = here.sweep(sweep_id), here.queries.job(sweep_id)
    shown = views.sweep(record, here.queries.best(record))
    return views.document(**shown, job=views.job(job) if job else None)


@router.get("/trials", tags=["trials"])
def list_trials(here: Here, sweep: Annotated[Text, Query(min_length=1)]) -> JSONResponse:
    """The trials of a sweep."""
    record = here.sweep(sweep)
    listed = [views.trial(each) for each in here.queries.trials(record.id)]
    return JSONResponse(views.document(sweep=record.id, trials=listed))


@router.get("/trials/{trial}", tags=["trials"])
def show_trial(here: Here, trial: Id) -> JSONResponse:
    """A trial and its epochs."""
    record = here.trial(trial)
    return JSONResponse(views.document(**views.trial(record, here.queries.epochs(record.id))))


@router.get("/leaderboard", tags=["trials"])
async def show_leaderboard(
    here: Here, request: Request, dataset: Text = "", top: Top = 10
) -> Response:
    """Completed trials, ranked among those they can be compared with.

    An answer may be a second old, unless the request says Cache-Control: no-cache.
    """
    recent: Recent = request.app.state.recent
    fresh = request.headers.get("cache-control") == "no-cache"
    answer = None if fresh else recent.find((dataset, top))
    if answer is None:
        answer = await asyncio.to_thread(
            recent.make, (dataset, top), lambda: _leaderboard(here, dataset, top)
        )
    return Response(answer, media_type="application/json", headers=RECENT)


def _leaderboard(here: Service, dataset: str, top: int) -> bytes:
    boards = [board for board in here.queries.boards(dataset or None, top) if board.rows]
    return bytes(JSONResponse(views.document(**views.leaderboard(boards))).body)


@router.get("/queue", tags=["sweeps"])
def show_queue(here: Here) -> JSONResponse:
    """What runs and what waits, in its order."""
    return JSONResponse(sweeps.in_queue(here))
