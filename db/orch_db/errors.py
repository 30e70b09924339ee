"""What can go wrong with the database, each with the command that helps."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database refused; `hint` is what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LockedError(DatabaseError):
    """Another process held the database for longer than the busy timeout."""


class UnreachableError(DatabaseError):
    """The database's server cannot be reached, or the connection to it was lost."""


class ConflictError(DatabaseError):
    """Another transaction was in the way; the same sent again may be recorded."""


class ReadOnlyError(DatabaseError):
    """The database may be read but not written."""


class FullError(DatabaseError):
    """No space is left for the database, or its disk fails."""


class NotADatabaseError(DatabaseError):
    """The file is something else; it was not touched."""


class SchemaError(DatabaseError):
    """The schema is older or newer than this program."""


class NotUniqueError(DatabaseError):
    """A prefix fits more than one id."""


class NotFoundError(DatabaseError):
    """No row has this id."""


class LostSweepError(DatabaseError):
    """Another driver took the sweep over; nothing was written."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(
            f"another process has taken over sweep {sweep_id[:6]}; it goes on there",
            f"orch sweeps show {sweep_id[:6]}",
        )


class NameTakenError(DatabaseError):
    """Something else has this name."""


class LostLeadError(DatabaseError):
    """Another service makes schedules fire by now; nothing was written."""

    def __init__(self) -> None:
        super().__init__("another service leads by now; it goes on there", "orch schedules")
