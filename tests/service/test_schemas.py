"""Whatever the OpenAPI document of the service allows, and what it does not, meets no bug."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest
import schemathesis
from api_client import HEADERS, NIGHTLY, ROOT, api, completed, unguarded
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.generation import GenerationMode

from orch.home import Home
from orch.service.api import sweeps

EXAMPLES = 6  # of each route, besides those at the edges of what it takes
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def _config() -> SchemathesisConfig:
    generation = GenerationConfig(modes=MODES, max_examples=EXAMPLES, deterministic=True)
    return SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))


class _Front:
    """Hands requests on to the service of the test that runs; the document needs none."""

    def __init__(self) -> None:
        self.application: Any = unguarded()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.application(scope, receive, send)


front = _Front()
schema = schemathesis.openapi.from_asgi(f"{ROOT}/openapi.json", front, config=_config())


REAL = {"dataset": "digits", "strategy": "fine-tune", "backbone": "vgg-mini"}
THERE = {"sweep": "5eed", "trial": "5eed00000000", "schedule": "nightly"}


def _real(body: Any) -> Any:
    """The same body with names of what there is, so that it comes further than to their absence."""
    if not isinstance(body, dict):
        return body
    body = {**body, **{key: REAL[key] for key in REAL if _is_name(body.get(key))}}
    if "cron" in body and isinstance(body["cron"], str):
        body |= {"sweep": _real(body.get("sweep")), "cron": "*/7 2 * * mon-fri", "timezone": "UTC"}
    return body


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value) is not None


@pytest.fixture(scope="module", autouse=True)
def _service(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """A service whose database holds a bit of everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "ENDED", (*sweeps.ENDED, "queued", "running"))  # else events go on
        patch.setattr(sweeps, "_waits", lambda document: False)
        with api(Home(tmp_path_factory.mktemp("schemas") / "home")) as found:
            found.add(*completed())
            found.queue()
            assert found.client.post(f"{ROOT}/schedules", json=NIGHTLY).status_code == 201
            patch.setattr(front, "application", found.application)
            yield


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_no_request_meets_a_bug(case: schemathesis.Case) -> None:
    if case.operation.path.startswith(ROOT):
        case.body = _real(case.body)
        for key, value in case.path_parameters.items():
            there = _is_name(value) and case.method != "DELETE"
            case.path_parameters[key] = THERE[key] if there else value
    answer = case.call(headers=HEADERS)
    case.validate_response(answer, checks=[not_a_server_error])
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"]
