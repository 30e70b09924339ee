"""Removing and renaming datasets, with a look at the sweeps and schedules that use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orch import installing
from orch.errors import UsageError
from orch.home import Home
from orch.planning.spec import SweepSpec
from orch.sweeps.control import as_it_is
from orch_db.records import ScheduleRecord, SweepRecord
from orch_db.renames import Renamed
from orch_db.service_queries import ServiceQueries
from orch_db.store import Store

AT_WORK = ("queued", "running")


def remove(home: Home, name: str, queries: ServiceQueries) -> int:
    """Delete an installed dataset's files; returns how many bytes. Results in the database stay.

    Raises:
        NotFoundError: it is not installed.
        UsageError: a sweep that has not ended needs it.
    """
    require_idle(name, queries.sweeps(), "removed")
    return installing.remove(home, name)


def rename(home: Home, former: str, name: str, store: Store, queries: ServiceQueries) -> int:
    """Call a user's own dataset otherwise; its results come with it. Returns their sweeps' number.

    Raises:
        NotFoundError: there is none of that name, or it is a plugin's.
        UsageError: the new name is taken or cannot be one, or a sweep or schedule uses the old.
    """
    sweeps = queries.sweeps()
    require_idle(former, sweeps, "renamed")
    _require_unscheduled(former, queries.schedules())
    installing.check_renaming(home, former, name)
    mine = [_renamed(each, name) for each in sweeps if each.dataset == former]
    store.rename_dataset(mine)  # first: killed in between, the same command goes on from here
    installing.rename(home, former, name)
    return len(mine)


def _renamed(record: SweepRecord, name: str) -> Renamed:
    spec = replace(SweepSpec.from_json(record.spec), dataset=name)
    return Renamed(record.id, name, spec.to_json(), spec.board)


def require_idle(name: str, sweeps: Iterable[SweepRecord], what: str) -> None:
    """Make sure that no sweep runs or waits that needs a dataset.

    Raises:
        UsageError: one does; the message names it.
    """
    for each in sweeps:
        if each.dataset == name and as_it_is(each).state in AT_WORK:
            raise UsageError(
                f"the sweep {each.id[:6]} of {name} is {each.state}; nothing was {what}",
                f"wait for it, or: orch sweeps cancel {each.id[:6]}",
            )


def _require_unscheduled(name: str, schedules: Iterable[ScheduleRecord]) -> None:
    for each in schedules:
        if each.words.get("dataset") == name and each.state != "ended":
            raise UsageError(
                f"the schedule {each.name} sweeps {name}; nothing was renamed",
                f"orch schedules remove {each.name}, then add it with the new name",
            )
