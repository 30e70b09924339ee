"""What every route of the HTTP API asks before it answers: name, token, type and size of a body.

Errors are problems, and no secret is in an answer, the database, a log or the settings shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_client import (
    HEADERS,
    NIGHTLY,
    ROOT,
    TOKEN,
    Api,
    api,
    client_of,
    completed,
    guarded,
    problem,
    unguarded,
)
from fastapi.testclient import TestClient

from orch.home import Home
from orch.service.api import guard, sweeps
from orch_db.errors import UnreachableError

OPEN = ("/healthz", "/readyz")
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
UNSAFE = ("post", "put", "patch", "delete")


def _routes() -> Iterator[tuple[str, str]]:
    """Every path with every method it takes, ids filled in."""
    application = unguarded()
    for path, methods in application.openapi()["paths"].items():
        for method in methods:
            yield (
                method,
                path.replace("{sweep}", "abc")
                .replace("{trial}", "abc")
                .replace("{schedule}", "abc"),
            )
    yield "get", application.openapi_url


ROUTES = sorted(_routes())
every_route = pytest.mark.parametrize(("method", "path"), ROUTES)
every_unsafe_route = pytest.mark.parametrize(
    ("method", "path"), [each for each in ROUTES if each[0] in UNSAFE]
)


@pytest.fixture
def here(tmp_path: Path) -> Generator[Api]:
    with api(Home(tmp_path / "home")) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[Api]:
    """For what is refused before any route sees it."""
    with api(Home(tmp_path_factory.mktemp("api") / "home")) as found:
        yield found


def test_the_routes_are_those_of_the_application() -> None:
    """Nothing is left out of the OpenAPI document, and so of the tests below."""
    application = unguarded()
    found: set[tuple[str, str]] = set()
    for entry in application.routes:
        router = getattr(entry, "original_router", None)
        prefix = entry.include_context.prefix if router is not None else ""
        for route in router.routes if router is not None else [entry]:
            found |= {(prefix + route.path, each.lower()) for each in route.methods - {"HEAD"}}
    listed = {
        (path, method)
        for path, methods in application.openapi()["paths"].items()
        for method in methods
    }
    assert found == listed | {(application.openapi_url, "get")}
    assert len(found) > 25


@every_route
def test_without_the_token_nothing_but_the_probes_answers(
    shared: Api, method: str, path: str
) -> None:
    stranger = client_of(shared.application, **{"Content-Type": "application/json"})
    answer = stranger.request(method, path)
    if path in OPEN:
        assert answer.status_code == 200
        return
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_another_token_is_none(shared: Api, shown: str) -> None:
    problem(shared.client.get(f"{ROOT}/sweeps", headers={"Authorization": shown}), 401)


def test_a_token_of_bytes_beyond_ascii_is_another(shared: Api) -> None:
    headers = {"Authorization": b"Bearer \xff\xfe\x80"}
    problem(shared.client.get(f"{ROOT}/sweeps", headers=headers), 401)


def test_the_word_bearer_is_read_in_any_case(shared: Api) -> None:
    headers = {"Authorization": f"bEARER  {TOKEN}"}
    assert shared.client.get(f"{ROOT}/sweeps", headers=headers).status_code == 200


@every_route
def test_a_request_for_another_host_is_refused_even_with_the_token(
    shared: Api, method: str, path: str
) -> None:
    for host in ("evil.example", "localhost.evil.example", ""):
        problem(shared.client.request(method, path, headers={"Host": host}), 403)


@every_unsafe_route
@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
def test_a_form_of_a_page_is_refused(shared: Api, method: str, path: str, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    problem(shared.client.request(method, path, headers=headers, content=b"a=b"), 415)
    problem(shared.client.request(method, path, headers=headers), 415)


@every_unsafe_route
def test_a_body_without_a_type_is_refused_and_no_body_needs_none(
    shared: Api, method: str, path: str
) -> None:
    problem(shared.client.request(method, path, content=b"{}"), 415)
    problem(shared.client.request(method, path, content=iter([b"{}"])), 415)
    assert shared.client.request(method, path).status_code in (404, 422)


@every_unsafe_route
def test_too_large_a_body_is_refused_whether_it_says_so_or_not(
    shared: Api, method: str, path: str
) -> None:
    large, headers = b" " * (guard.MOST_BYTES + 1), {"Content-Type": "application/json"}
    problem(shared.client.request(method, path, headers=headers, content=large), 413)
    pieces = iter([large[:600_000], large[600_000:]])
    problem(shared.client.request(method, path, headers=headers, content=pieces), 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "nine", "9" * 5000, "", "1000001"])
def test_a_length_that_is_none_is_refused(shared: Api, length: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": length}
    problem(shared.client.post(f"{ROOT}/sweeps", headers=headers, content=b"{}"), 413)


def test_the_largest_body_is_read(shared: Api) -> None:
    content = b'{"dataset": "digits"' + b" " * (guard.MOST_BYTES - 21) + b"}"
    headers = {"Content-Type": "application/json"}
    for body in (content, iter([content])):
        answer = shared.client.post(f"{ROOT}/sweeps", headers=headers, content=body)
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("path", ["/", "/api", f"{ROOT}/", f"{ROOT}/nothing", f"{ROOT}/sweeps/"])
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_path_is_not_found(shared: Api, method: str, path: str) -> None:
    answer = shared.client.request(method, path)
    if method == "head":
        assert answer.status_code == 404
    else:
        problem(answer, 404)


@pytest.mark.parametrize("path", sorted({path for _, path in ROUTES}))
def test_a_method_that_a_path_does_not_take_is_refused(shared: Api, path: str) -> None:
    taken = {method for method, known in ROUTES if known == path} | {"head"}
    for method in set(METHODS) - taken:
        answer = shared.client.request(method, path)
        problem(answer, 405)
        assert answer.headers["allow"]


@every_route
def test_no_page_of_another_origin_may_read_an_answer(shared: Api, method: str, path: str) -> None:
    headers = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": method.upper(),
        "Access-Control-Request-Headers": "authorization",
    }
    for asked in (method, "options"):
        answer = shared.client.request(asked, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"dataset": ' + b"9" * 5000 + b"}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"dataset": "\\ud800"}', 422),
        (b'{"dataset": "digits", "\\ud800": 1}', 422),
        (b'{"dataset": "digits", "space": {"\\ud800": "1"}}', 422),
        (b'{"dataset": "digits", "name": "a\\u0000b"}', 422),
        (b'{"dataset": "digits", "seconds": NaN}', 422),
        (b'{"dataset": "digits", "seconds": Infinity}', 422),
        (b'{"dataset": "digits", "seconds": 1e999}', 422),
        (b'{"dataset": "digits", "trials": 123456789012345678901234567890}', 422),
        (b'{"dataset": "digits", "priority": -9223372036854775809}', 422),
    ],
)
def test_a_body_that_makes_no_sense_is_a_problem(shared: Api, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    problem(shared.client.post(f"{ROOT}/sweeps", headers=headers, content=content), status)


@every_route
def test_ids_that_are_none_are_refused(shared: Api, method: str, path: str) -> None:
    for word in ("%00", "%ED%A0%80", "a%20b", "a" * 65, "%25", "..%2f..%2fetc%2fpasswd", "🐦"):
        if "abc" in path:
            answer = shared.client.request(method, path.replace("abc", word))
            assert answer.status_code in (404, 422), answer.text
            problem(answer, answer.status_code)


def test_a_bug_is_a_problem_that_tells_no_more_than_its_kind(
    here: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"the token is {TOKEN}")

    monkeypatch.setattr(sweeps.sweeps, "listing", broken)
    document = problem(here.client.get(f"{ROOT}/sweeps"), 500)
    assert "RuntimeError" in document["detail"]
    assert TOKEN not in json.dumps(document)


def test_a_database_that_does_not_answer_is_a_503(
    here: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise UnreachableError("the server cannot be reached", "pg_isready")

    monkeypatch.setattr(type(here.service.queries), "leader", gone)
    assert problem(here.client.get(f"{ROOT}/queue"), 503)["hint"] == "pg_isready"
    assert here.client.get("/readyz").status_code == 503
    assert here.client.get("/healthz").status_code == 200


# ── secrets ─────────────────────────────────────────────────────────────────────────────────


def test_no_secret_is_in_an_answer_the_database_a_log_or_the_settings_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orch: Callable[..., Any]
) -> None:
    secrets = {
        "token": TOKEN,
        "webhook_secret": "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r",
        "webhook_url": "https://example.org/hook/unguessable-part",
        "notify_command": "notify --key unguessable-key",
    }
    home = Home(tmp_path / "home")
    with api(home, **secrets) as found:
        found.add(*completed())
        said = _everything(found)
    for name, value in secrets.items():
        monkeypatch.setenv(f"ORCH_{name.upper()}", value)
    shown = [orch("config"), orch("config", "--json"), orch("schedules"), orch("queue")]
    said += [text.encode() for ran in shown for text in (ran.out, ran.err)]
    said += [file.read_bytes() for file in home.root.rglob("*") if file.is_file()]
    assert b'"val_accuracy"' in b"".join(said)
    for value in secrets.values():
        assert not [text for text in said if value.encode() in text]


def _everything(found: Api) -> list[bytes]:
    """What every route answers, with the token, without it, and with another one."""
    found.client.post(f"{ROOT}/schedules", json=NIGHTLY)
    strangers = [
        found.client,
        client_of(found.application),
        client_of(found.application, Authorization="Bearer another"),
        client_of(guarded(found.service, "yet-another-token"), **HEADERS),
    ]
    return [
        _said(client, method, path.replace("abc", word))
        for client in strangers
        for method, path in ROUTES
        if "events" not in path
        for word in ("5eed", "nightly", "none")
    ]


def _said(client: TestClient, method: str, path: str) -> bytes:
    answer = client.request(method, path, json={"trials": 1} if method == "post" else None)
    return answer.content + repr(answer.headers).encode()
