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
SAFE = ("GET", "HEAD", "OPTIONS")
OPEN = ("/healthz", "/readyz")  # probes have no token, and learn nothing

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


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
        if refusal is not None:
            await problem(*refusal[:2], **refusal[2])(scope, receive, send)
            return
        await self._app(scope, _limited(receive), send)

    def _refusal(self, scope: Message) -> tuple[int, str, dict[str, str]] | None:
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
        if media_type != "application/json":
            return 415, "send application/json", {}
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return 413, f"a body may have {MOST_BYTES:,} bytes", {}
        return None


def _token(headers: dict[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _limited(receive: Receive) -> Receive:
    """The same body, cut off where it becomes too large without having said so."""
    count = 0

    async def limited() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > MOST_BYTES:
            return {"type": "http.disconnect"}
        return message

    return limited
