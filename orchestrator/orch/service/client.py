"""Asks a service over HTTP, as the command line does where ORCH_URL names one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from orch.errors import ClusterError, NotFoundError, OrchError, StorageError, UsageError
from orch.service.api.paths import ROOT

ANSWER_SECONDS = 30.0


class Client:
    """One service, and the token that it asks for."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"ORCH_URL is {url!r}, which is no URL", "http://127.0.0.1:8642")
        self._url = url.rstrip("/") + ROOT
        self._has_token = bool(token)
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["Cache-Control"] = "no-cache"

    def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the document that answers it.

        Raises:
            OrchError: what the service refused it with; ClusterError where it does not answer.
        """
        try:
            answer = self._session.request(
                method,
                self._url + path,
                params=query,
                json={} if body is None and method == "POST" else body,
                timeout=ANSWER_SECONDS,
                allow_redirects=False,
            )
            document: dict[str, Any] = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise ClusterError(
                f"the service at {self._url} did not answer ({type(error).__name__}); "
                "nothing was changed",
                "orch serve, or unset ORCH_URL to work on this machine",
            ) from None
        if answer.ok:
            return document
        if answer.status_code == 401:
            raise self._unknown()
        raise _error(answer.status_code, document)

    def _unknown(self) -> UsageError:
        """What is said where the service does not know who asks."""
        service = f"the service at {self._url.removesuffix(ROOT)}"
        hint = "ORCH_TOKEN=…, or its file token into this home; on its machine: cat HOME/token"
        if self._has_token:
            return UsageError(f"{service} refuses the token of ORCH_TOKEN or this home", hint)
        return UsageError(f"{service} asks for a token, and this home has none", hint)


def _error(status: int, document: dict[str, Any]) -> OrchError:
    message = str(document.get("detail", f"the service answered {status}"))
    hint = str(document.get("hint", ""))
    if status == 403:
        return UsageError(message, "orch serve --allowed-hosts NAME, where the service runs")
    if status == 404:
        return NotFoundError(message, hint)
    if status >= 500:
        return StorageError(message, hint)
    return UsageError(message, hint)
