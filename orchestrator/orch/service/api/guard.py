"""What every request passes before a route sees it: Host, token, media type, size of the body.

Source of the rules: OWASP REST Security Cheat Sheet; the Host check keeps pages that a browser
loaded elsewhere from reaching the service by DNS rebinding.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from orch.service.access import Access
from orch.service.api.problems import problem

MOST_BYTES = 1_000_000
MOST_DIGITS = 20  # of a content-length
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/healthz", "/readyz")  # probes have no token, and learn nothing

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Refusal = tuple[int, str, dict[str, str]]

TOO_LARGE: Refusal = (413, f"a body may have {MOST_BYTES:,} bytes", {})


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: Application, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] not in SAFE:
            body = await _body(receive)
            refusal = TOO_LARGE if body is None else None
            receive = _again(body or b"", receive)
        if refusal is not None:
            await problem(*refusal[:2], **refusal[2])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Message) -> Refusal | None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        if not self._access.answers_to(headers.get("host", "")):
            return 403, "this service has another name; ORCH_ALLOWED_HOSTS lists them", {}
        if scope["path"] not in OPEN and not self._access.knows(_token(headers)):
            return (
                401,
                "send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        if scope["method"] in SAFE:
            return None
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        length = headers.get("content-length", "0")
        empty = length == "0" and "transfer-encoding" not in headers
        if media_type != "application/json" and not (empty and not media_type):
            return 415, "send application/json", {}
        if not (length.isdecimal() and len(length) <= MOST_DIGITS and int(length) <= MOST_BYTES):
            return TOO_LARGE
        return None


def _token(headers: dict[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(receive: Receive) -> bytes | None:
    """All of a body, or as much as came; None where it is too large, whatever it said of that."""
    content = bytearray()
    while True:
        message = await receive()
        content += message.get("body", b"")
        if len(content) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(content)


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives a body that has been read once more, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
