"""The present instant, as rows have it."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present instant, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
