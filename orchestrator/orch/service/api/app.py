"""The application: routes, probes and metrics behind the guard."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse

from orch import __version__, catalog, probing, registry, views
from orch.contracts import DatasetFacts
from orch.errors import OrchError
from orch.service import metrics
from orch.service.access import Access
from orch.service.api import guard, problems, schedules, sweeps
from orch.service.api.here import Here
from orch.service.api.paths import ROOT
from orch.service.api.recent import Recent
from orch.service.state import Service
from orch_db.errors import DatabaseError

things = APIRouter(tags=["plugins"])
probes = APIRouter(tags=["service"])


@things.get("/datasets")
def list_datasets(here: Here) -> JSONResponse:
    """Datasets by name, and what is present of each."""
    known, blocked = catalog.known(here.home, here.settings.plugin_timeout)
    listed = [_dataset(here, each) for each in known.values()]
    lost = [{"name": name, "present": False, "error": why} for name, why in blocked.items()]
    return JSONResponse(
        views.document(datasets=sorted(listed + lost, key=lambda each: each["name"]))
    )


def _dataset(here: Service, facts: DatasetFacts) -> dict[str, Any]:
    try:
        return views.dataset(facts, catalog.find(here.home, facts.name))
    except OrchError as error:
        return {"name": facts.name, "present": False, "error": error.message}


@things.get("/strategies")
def list_strategies(here: Here) -> JSONResponse:
    """Strategies by name, and whether they can be used; asked once, in a process of their own."""
    probing.strategies(here.home, here.settings.plugin_timeout)
    return JSONResponse(views.document(strategies=_plugins(here, registry.STRATEGIES)))


@things.get("/plugins")
def list_plugins(here: Here) -> JSONResponse:
    """Plugins of every kind and whether they can be used, without importing one."""
    listed = {kind: _plugins(here, group) for group, kind in PLURALS.items()}
    return JSONResponse(views.document(**listed))


PLURALS = {group: group.removeprefix("orch.") for group in registry.GROUPS}


def _plugins(here: Service, group: str) -> list[dict[str, Any]]:
    """Plugins of a group; where on this machine their files are is not told."""
    return [
        {
            "name": each.name,
            "distribution": each.plugin.origin,
            "state": each.word,
            "why": each.why or None,
        }
        for each in probing.states(here.home)
        if each.plugin.group == group
    ]


@probes.get("/healthz")
def alive() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("alive\n")


@probes.get("/readyz")
def ready(here: Here) -> PlainTextResponse:
    """The database answers too."""
    try:
        here.queries.leader()
    except DatabaseError:
        return PlainTextResponse("the database does not answer\n", 503)
    return PlainTextResponse("ready\n")


@probes.get("/metrics")
def show_metrics(here: Here) -> PlainTextResponse:
    """Figures as Prometheus reads them."""
    return PlainTextResponse(metrics.text(here), media_type=metrics.MEDIA_TYPE)


def make(service: Service, access: Access) -> guard.Guard:
    """The application of a service, as a server runs it."""
    return guard.Guard(routes(service), access)


def routes(service: Service | None = None) -> FastAPI:
    """All routes, with nothing before them."""
    app = FastAPI(
        title="orch",
        version=__version__,
        description="Sweeps that find how to fine-tune a pretrained network.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{ROOT}/openapi.json",
        redirect_slashes=False,
        responses={"default": {"description": "A problem as RFC 9457 has it"}},
    )
    app.state.service = service
    app.state.recent = Recent()
    for router in (sweeps.router, schedules.router, things):
        app.include_router(router, prefix=ROOT)
    app.include_router(probes)
    problems.install(app)
    return app
