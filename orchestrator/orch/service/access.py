"""Who may ask the service: its token, the names it is called by, what it listens on."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orch.errors import UsageError
from orch.home import Home, publishing
from orch.settings import Settings

LOCAL = ("localhost", "127.0.0.1", "::1")
LEAST_TOKEN = 16  # characters
HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]*[a-z0-9]))\.?(?::\d*)?")


@dataclass(frozen=True)
class Access:
    """What a request must show."""

    token: str
    hosts: tuple[str, ...]

    def knows(self, shown: str) -> bool:
        """True for the token; takes as long for any other."""
        return hmac.compare_digest(shown.encode(), self.token.encode())

    def answers_to(self, host: str) -> bool:
        """True for a Host header that names this service, whatever the port."""
        name = _name(host)
        return bool(name) and name in self.hosts


def _name(host: str) -> str:
    """The name in a Host header, without its port; "" where it is none."""
    found = HOST.fullmatch(host.strip().lower())
    return (found[1] or found[2]) if found else ""


def _own_names(settings: Settings) -> tuple[str, ...]:
    said = [each.strip() for each in settings.allowed_hosts.split(",") if each.strip()]
    names = tuple(_name(f"[{each}]" if _is_six(each) else each) for each in said)
    for text, name in zip(said, names, strict=True):
        if not name:
            raise UsageError(
                f"allowed_hosts has {text!r}, which is no name of a host",
                "write sweeps.example.org, 192.0.2.7 or [2001:db8::7]",
            )
    return names


def _is_six(text: str) -> bool:
    """True for an address of IPv6 without its brackets."""
    return text.count(":") > 1 and not text.startswith("[")


def token_file(home: Home) -> Path:
    """Where the token of this home's service is."""
    return home.root / "token"


def read_token(settings: Settings, home: Home) -> str:
    """The token that a client shows; "" where there is none."""
    if settings.token:
        return settings.token
    try:
        return token_file(home).read_text().strip()
    except OSError:
        return ""


def allow(settings: Settings, home: Home) -> Access:
    """What the service asks for; a random token is made where none was given.

    Raises:
        UsageError: it would listen on a public address without a token and names of its own, a
            name is none, or the token is weak or can be read by others.
    """
    own = _own_names(settings)
    if not is_local(settings.host) and not (settings.token and own):
        raise UsageError(
            f"orch serve listens on {settings.host} only with a token and allowed hosts; "
            "nothing was started",
            "ORCH_TOKEN=… orch serve --host 0.0.0.0 --allowed-hosts sweeps.example.org",
        )
    return Access(_own_token(settings, home), (*LOCAL, *own))


def _own_token(settings: Settings, home: Home) -> str:
    if not settings.token:
        require_owner_only([token_file(home)])
    known = read_token(settings, home)
    if known:
        _check(known)
        return known
    made = secrets.token_urlsafe(32)
    with publishing(token_file(home)) as file:  # mkstemp makes it its owner's alone
        file.write(f"{made}\n".encode())
    return made


def _check(token: str) -> None:
    make_one = "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    if len(token) < LEAST_TOKEN:
        raise UsageError(f"the token has fewer than {LEAST_TOKEN} characters", make_one)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("the token has characters that no header can carry", make_one)


def is_local(host: str) -> bool:
    """True for an address that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_owner_only(paths: Sequence[Path]) -> None:
    """Refuse files with secrets that others may read.

    Raises:
        UsageError: one may be.
    """
    for path in paths:
        if path.exists() and os.stat(path).st_mode & 0o077:
            raise UsageError(f"{path} can be read by others", f"chmod 600 {path}")
