"""The search-space grammar: `log(a,b)`, `uniform(a,b)`, `int(a,b)`, `choice(a,b,c)`, or a value.

    >>> parse("log(1e-6,1e-3)")
    Log(low=1e-06, high=0.001)
    >>> render(parse("choice(15, 19)"))
    'choice(15,19)'

`parse(render(domain)) == domain` holds for every domain.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from orch.errors import UsageError

Value = int | float | str | bool


@dataclass(frozen=True)
class Log:
    """A real number between two positive bounds, evenly spread over its logarithm."""

    low: float
    high: float


@dataclass(frozen=True)
class Uniform:
    """A real number between two bounds, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Int:
    """A whole number between two bounds, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Fixed:
    """One value: nothing to search."""

    value: Value


Domain = Log | Uniform | Int | Choice | Fixed


class SpaceError(UsageError):
    """A domain that does not parse; the message shows where with a caret."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"{problem}\n    {text}\n    {' ' * position}^",
            "write log(a,b), uniform(a,b), int(a,b), choice(a,b,c) or a plain value",
        )


_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\(")
_BARE = re.compile(r"[^\s,()]+\Z")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z")


def parse(text: str) -> Domain:
    """Read one domain.

    Raises:
        SpaceError: with the column of the first character that cannot be understood.
    """
    call = _CALL.match(text)
    if call is None:
        return Fixed(_value(text, len(text) - len(text.lstrip()), text.strip()))
    name, arguments = call.group(1), _arguments(text, call.end())
    if name == "choice":
        values = tuple(_value(text, at, word) for at, word in arguments)
        for position, value in enumerate(values):
            if repr(value) in map(repr, values[:position]):
                raise SpaceError(text, arguments[position][0], "choice() lists a value twice")
        return Choice(values)
    if name not in ("log", "uniform", "int"):
        raise SpaceError(text, call.start(1), f"{name}() is not a kind of search space")
    if len(arguments) != 2:
        raise SpaceError(text, call.end(), f"{name}() takes two bounds, not {len(arguments)}")
    return _interval(text, name, arguments)


def _interval(text: str, name: str, arguments: list[tuple[int, str]]) -> Domain:
    low, high = (_number(text, at, word) for at, word in arguments)
    if float(low) >= float(high):
        raise SpaceError(text, arguments[1][0], "the second bound must be above the first")
    if name == "int":
        for (at, _), bound in zip(arguments, (low, high), strict=True):
            if bound != int(bound):
                raise SpaceError(text, at, "int() takes whole numbers")
        return Int(int(low), int(high))
    if name == "uniform":
        return Uniform(float(low), float(high))
    if low <= 0:
        raise SpaceError(text, arguments[0][0], "log() needs bounds above zero")
    return Log(float(low), float(high))


def _arguments(text: str, start: int) -> list[tuple[int, str]]:
    """Split what stands between the parentheses into (column, word) pairs."""
    end = text.rfind(")")
    if end < start:
        raise SpaceError(text, len(text), "expected ')'")
    rest = text[end + 1 :]
    if rest.strip():
        column = end + 1 + len(rest) - len(rest.lstrip())
        raise SpaceError(text, column, "nothing may follow ')'")
    found: list[tuple[int, str]] = []
    at = start
    for part in text[start:end].split(","):
        word = part.strip()
        column = at + len(part) - len(part.lstrip())
        if not word:
            raise SpaceError(text, min(column, end), "expected a value")
        found.append((column, word))
        at += len(part) + 1
    return found


def _value(text: str, at: int, word: str) -> Value:
    if _NUMBER.match(word):
        return _number(text, at, word)
    if word in ("true", "false"):
        return word == "true"
    if not _BARE.match(word):
        bad = re.search(r"[\s,()]", word)
        raise SpaceError(text, at + (bad.start() if bad else 0), "expected a value")
    return word


def _number(text: str, at: int, word: str) -> int | float:
    if not _NUMBER.match(word):
        raise SpaceError(text, at, f"expected a number, not {word!r}")
    value = float(word)
    if not math.isfinite(value):
        raise SpaceError(text, at, f"{word[:12]}… is too large")
    return int(word) if re.fullmatch(r"[+-]?\d+", word) else value


def render(domain: Domain) -> str:
    """Write a domain in the grammar that `parse` reads."""
    match domain:
        case Log(low, high):
            return f"log({low!r},{high!r})"
        case Uniform(low, high):
            return f"uniform({low!r},{high!r})"
        case Int(low, high):
            return f"int({low},{high})"
        case Choice(values):
            return f"choice({','.join(map(render_value, values))})"
        case Fixed(value):
            return render_value(value)


def render_value(value: Value) -> str:
    """Write one value so that `parse` reads the same value of the same type."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def contains(domain: Domain, value: Value) -> bool:
    """Tell whether a value lies in a domain; whole numbers count as real ones."""
    match domain:
        case Log(low, high) | Uniform(low, high):
            return _is_number(value) and low <= value <= high  # pyright: ignore[reportOperatorIssue]
        case Int(low, high):
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case Choice(values):
            return any(value == known and _same_kind(value, known) for known in values)
        case Fixed(only):
            return value == only and _same_kind(value, only)


def within(domain: Domain, allowed: Domain) -> bool:
    """Tell whether every value of a domain is a value of `allowed`."""
    return all(contains(allowed, value) for value in extremes(domain))


def extremes(domain: Domain) -> tuple[Value, ...]:
    """The bounds of an interval, or every value of a finite domain."""
    match domain:
        case Log(low, high) | Uniform(low, high) | Int(low, high):
            return (low, high)
        case Choice(values):
            return values
        case Fixed(value):
            return (value,)


def size(domain: Domain) -> int | None:
    """How many values a domain has; None for a continuous one."""
    match domain:
        case Log() | Uniform():
            return None
        case Int(low, high):
            return high - low + 1
        case Choice(values):
            return len(values)
        case Fixed():
            return 1


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_kind(left: Value, right: Value) -> bool:
    return isinstance(left, bool) == isinstance(right, bool)
