"""Who may ask the service: its token, its names, and what it refuses to listen on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orch.errors import UsageError
from orch.home import Home
from orch.service import access
from orch.service.access import LOCAL, Access
from orch.settings import Settings

TOKEN = "a-token-of-the-tests-that-nobody-else-has"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def settings(**values: Any) -> Settings:
    return Settings(**values)


# ── the token ───────────────────────────────────────────────────────────────────────────────


def test_a_token_is_made_once_and_only_its_owner_may_read_it(home: Home) -> None:
    before = os.umask(0)
    try:
        made = access.allow(settings(), home)
    finally:
        os.umask(before)
    file = access.token_file(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(made.token) >= 32
    assert access.read_token(settings(), home) == made.token
    assert access.allow(settings(), home) == made


def test_every_home_has_another_token(home: Home, tmp_path: Path) -> None:
    other = access.allow(settings(), Home(tmp_path / "other"))
    assert access.allow(settings(), home).token != other.token


def test_a_token_that_is_given_is_used_and_written_nowhere(home: Home) -> None:
    assert access.allow(settings(token=TOKEN), home).token == TOKEN
    assert access.read_token(settings(token=TOKEN), home) == TOKEN
    assert not access.token_file(home).exists()


def test_where_there_is_no_token_a_client_has_none(home: Home) -> None:
    assert access.read_token(settings(), home) == ""


def test_a_token_file_that_others_may_read_is_refused(home: Home) -> None:
    access.allow(settings(), home)
    access.token_file(home).chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others") as raised:
        access.allow(settings(), home)
    assert raised.value.hint == f"chmod 600 {access.token_file(home)}"


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "a token with a blank in it", "x" * 20 + "\n", "ä" * 20]
)
def test_a_token_that_is_weak_or_no_header_can_carry_is_refused(home: Home, token: str) -> None:
    with pytest.raises(UsageError, match="the token has"):
        access.allow(settings(token=token), home)


def test_a_token_file_that_someone_shortened_is_refused(home: Home) -> None:
    access.token_file(home).touch(0o600)
    access.token_file(home).write_text("short\n")
    with pytest.raises(UsageError, match="fewer than 16 characters"):
        access.allow(settings(), home)


def test_the_token_is_known_and_no_other() -> None:
    allowed = Access(TOKEN, LOCAL)
    assert allowed.knows(TOKEN)
    for other in ("", TOKEN[:-1], f"{TOKEN} ", TOKEN.upper(), "ÿ"):
        assert not allowed.knows(other)


# ── its names ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost:8642",
        "localhost.",
        "localhost.:8642",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8642",
        "sweeps.example.org",
        "SWEEPS.example.ORG:443",
        "192.0.2.7:8642",
        "[2001:db8::7]",
        "[2001:DB8::7]:8642",
        "bare.example:1",
    ],
)
def test_it_answers_to_its_names_whatever_port_and_case(home: Home, host: str) -> None:
    names = "Sweeps.Example.Org., 192.0.2.7,[2001:db8::7], bare.example:8642"
    assert access.allow(settings(allowed_hosts=names), home).answers_to(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        ":8642",
        ".",
        "evil.example",
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "[::2]",
        "[::1",
        "::1",
        "[::1]evil.example",
        "localhost:evil",
        "localhost:80:90",
        "localhost/",
        "user@localhost",
        "localhost\x00",
        "ſweeps.example.org",
    ],
)
def test_it_answers_to_no_other_name(home: Home, host: str) -> None:
    allowed = access.allow(settings(allowed_hosts="sweeps.example.org,"), home)
    assert not allowed.answers_to(host)


def test_an_address_of_ipv6_is_a_name_with_and_without_brackets(home: Home) -> None:
    for names in ("2001:db8::7", "[2001:db8::7]"):
        allowed = access.allow(settings(allowed_hosts=names), home)
        assert allowed.hosts == (*LOCAL, "2001:db8::7")
        assert not allowed.answers_to("")


@pytest.mark.parametrize("names", ["*", "https://x.example", "a/b", "x.example;y.example", "."])
def test_a_name_that_is_none_is_refused(home: Home, names: str) -> None:
    with pytest.raises(UsageError, match="which is no name of a host"):
        access.allow(settings(allowed_hosts=names), home)


# ── what it listens on ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_what_only_this_machine_reaches_is_local(host: str, local: bool) -> None:
    assert access.is_local(host) == local


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"token": TOKEN},
        {"allowed_hosts": "sweeps.example.org"},
        {"token": TOKEN, "allowed_hosts": " , "},
    ],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", ""])
def test_a_public_address_needs_a_token_and_names(
    home: Home, host: str, given: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="only with a token and allowed hosts"):
        access.allow(settings(host=host, **given), home)
    assert not access.token_file(home).exists()


def test_a_token_in_the_home_is_not_enough_for_a_public_address(home: Home) -> None:
    access.allow(settings(), home)
    with pytest.raises(UsageError, match="only with a token and allowed hosts"):
        access.allow(settings(host="0.0.0.0", allowed_hosts="sweeps.example.org"), home)


def test_with_both_it_may_listen_on_a_public_address(home: Home) -> None:
    both = settings(host="0.0.0.0", token=TOKEN, allowed_hosts="sweeps.example.org")
    assert access.allow(both, home) == Access(TOKEN, (*LOCAL, "sweeps.example.org"))


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (["--host", "0.0.0.0"], {}, "only with a token and allowed hosts; nothing was started"),
        (["--host", "0.0.0.0"], {"ORCH_TOKEN": TOKEN}, "only with a token and allowed hosts"),
        ([], {"ORCH_TOKEN": "short"}, "fewer than 16 characters"),
        (["--allowed-hosts", "*"], {}, "which is no name of a host"),
        ([], {"ORCH_WEBHOOK_URL": "ftp://x"}, "webhook_url is no http or https URL"),
    ],
)
def test_orch_serve_says_why_it_does_not_start_and_ends_with_2(
    orch: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environment: dict[str, str],
    says: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = orch("serve", "--port", "0", *words)
    assert ran.code == 2
    assert says in ran.err
    assert TOKEN not in ran.out + ran.err


def test_files_that_are_not_there_or_their_owners_alone_pass(tmp_path: Path) -> None:
    own, others = tmp_path / "own", tmp_path / "others"
    own.touch(0o600)
    others.touch()
    others.chmod(0o604)
    access.require_owner_only([own, tmp_path / "none"])
    with pytest.raises(UsageError, match="others can be read by others"):
        access.require_owner_only([own, others])
