"""Errors as RFC 9457 has them: `application/problem+json` with type, title, status, detail."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from orch.errors import (
    DataError,
    NotFoundError,
    OrchError,
    PluginError,
    StorageError,
    UsageError,
)
from orch_db.errors import (
    DatabaseError,
    LockedError,
    NameTakenError,
    NotUniqueError,
    UnreachableError,
)
from orch_db.errors import NotFoundError as NoRowError

MEDIA_TYPE = "application/problem+json"
CONFLICT = 409

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (NoRowError, 404),
    (NotUniqueError, 409),
    (NameTakenError, 409),
    (UsageError, 422),
    (DataError, 422),
    (PluginError, 422),
    (StorageError, 503),
    (LockedError, 503),
    (UnreachableError, 503),
    (DatabaseError, 503),
    (OrchError, 500),
)
TITLES = {
    400: "The request cannot be read",
    401: "No token, or another one",
    403: "The service is not called that",
    404: "Not found",
    405: "No such method here",
    409: "Not in this state",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "The request makes no sense",
    500: "A bug in orch",
    503: "The database refuses",
}


def problem(status: int, detail: str, hint: str = "", **headers: str) -> JSONResponse:
    """A problem as a response; `hint` says what helps."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "The request was refused"),
        "status": status,
        "detail": detail,
    }
    if hint:
        document["hint"] = hint
    return JSONResponse(_plain(document), status, headers or None, MEDIA_TYPE)


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """The same without halves of characters, which clients may send and JSON cannot."""
    return {
        key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for key, value in document.items()
    }


def install(app: FastAPI) -> None:
    """Answer every error with a problem."""
    for kind, _ in STATUS:
        app.add_exception_handler(kind, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return problem(status, str(getattr(error, "message", error)), getattr(error, "hint", ""))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parts = [
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    ]
    unreadable = any(each["type"] == "json_invalid" for each in error.errors())
    return problem(400 if unreadable else 422, "; ".join(parts[:5]))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), **(error.headers or {}))


async def _bug(request: Request, error: Exception) -> JSONResponse:
    """The server writes the traceback to its log; a client is told no more than this."""
    return problem(500, f"a bug in orch: {type(error).__name__}; see the log of orch serve")
