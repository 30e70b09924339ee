"""Whether a sweep can go on: with the data, weights, plugins and parameters it was made for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orch import space
from orch.contracts import Progress
from orch.errors import UsageError
from orch.home import Home
from orch.planning.spec import PlannedSweep, SweepRequest, SweepSpec, allowed_today, plan_sweep
from orch.planning.words import SweepWords, is_unplanned, plan, queued
from orch.settings import Settings
from orch.space import render_value
from orch.sweeps.provenance import versions
from orch_db.records import SweepRecord, TrialRecord


def plan_again(
    record: SweepRecord, settings: Settings, home: Home, progress: Progress
) -> PlannedSweep:
    """Check that a sweep can go on as what it was.

    Raises:
        UsageError: what it was made for has changed.
    """
    spec = SweepSpec.from_json(record.spec)
    planned = _planned_today(spec, settings, home, progress)
    changed = list(_differences(record, spec, planned.spec, home))
    if changed:
        raise UsageError(
            f"sweep {record.id[:6]} cannot go on: {'; '.join(changed)}; its results are safe",
            f"orch sweeps resume {record.id[:6]} --fork starts a new one from it",
        )
    return replace(planned, spec=spec)


def fork(
    record: SweepRecord,
    best: TrialRecord | None,
    settings: Settings,
    home: Home,
    progress: Progress,
) -> PlannedSweep:
    """A new sweep with the words of another and today's data, weights and plugins.

    Parameters that are gone, or may not be what they were, are searched as by default. It begins
    with the best configuration of the other, where that still is in its space. Of one that waits
    as words alone, these are planned.
    """
    if is_unplanned(record):
        return plan(replace(record, id=uuid.uuid4().hex[:12]), settings, home, progress)
    former = SweepSpec.from_json(record.spec)
    planned = begin_with(_planned_today(former, settings, home, progress), best)
    same = planned.spec.space == former.space
    spec = replace(
        planned.spec,
        trials=former.trials,
        recipe=former.recipe if same else None,
        shortened=former.shortened,
    )
    return replace(planned, spec=spec)


def queued_fork(record: SweepRecord, settings: Settings) -> SweepRecord:
    """The row of a fork that waits in the queue; `begin` plans it where it runs."""
    if is_unplanned(record):
        words = SweepWords.from_json(record.spec["words"])
    else:
        words = _words(SweepSpec.from_json(record.spec))
    total = int(record.spec["trials"])  # it may have been extended
    waiting = queued(replace(words, trials=total, warm_start=record.id), settings)
    return replace(waiting, spec={**waiting.spec, "fork": True})


def _words(spec: SweepSpec) -> SweepWords:
    return SweepWords(
        spec.dataset,
        spec.strategy,
        spec.backbone,
        spec.name,
        spec.limit,
        spec.seconds,
        spec.objective.metric,
        spec.space,
        {name: render_value(value) for name, value in spec.dataset_options.items()},
        sampler=spec.sampler,
        pruner=spec.pruner,
        seed=spec.seed,
        keep=spec.keep,
    )


def begin(
    record: SweepRecord,
    former: SweepRecord | None,
    best: TrialRecord | None,
    settings: Settings,
    home: Home,
    progress: Progress,
) -> PlannedSweep:
    """Plan a sweep that waits as words alone; it keeps its id.

    `former` is the one that it was forked from or starts warm from, `best` that one's best trial.
    """
    if former is None or not record.spec.get("fork"):
        return begin_with(plan(record, settings, home, progress), best)
    planned = fork(former, best, settings, home, progress)
    own = replace(planned.spec, id=record.id, trials=int(record.spec["trials"]))
    return replace(planned, spec=own)


def begin_with(planned: PlannedSweep, best: TrialRecord | None) -> PlannedSweep:
    """The same sweep, beginning with the configuration of a trial, where that is in its space."""
    known: Mapping[str, Any] = best.params if best else {}
    domains = planned.spec.domains
    first = {
        name: known[name] if name in known and space.contains(domains[name], known[name]) else value
        for name, value in planned.spec.first.items()
    }
    return replace(planned, spec=replace(planned.spec, first=first))


def _planned_today(
    spec: SweepSpec, settings: Settings, home: Home, progress: Progress
) -> PlannedSweep:
    request = SweepRequest(
        spec.dataset,
        spec.strategy,
        spec.backbone,
        spec.name,
        spec.limit,
        spec.seconds,
        spec.objective.metric,
        options={name: render_value(value) for name, value in spec.dataset_options.items()},
    )
    allowed = allowed_today(request, settings, home, progress)
    stated = {
        name: text
        for name, text in spec.space.items()
        if name in allowed and space.within(space.parse(text), allowed[name])
    }
    chosen = replace(
        settings, sampler=spec.sampler, pruner=spec.pruner, seed=spec.seed, keep=spec.keep
    )
    return plan_sweep(replace(request, space=stated), chosen, home, progress)


def _differences(
    record: SweepRecord, then: SweepSpec, today: SweepSpec, home: Home
) -> Iterator[str]:
    """What has changed since a sweep was made, field by field."""
    for what in ("dataset_digest", "weights_digest"):
        former, now = getattr(then, what), getattr(today, what)
        if former != now:
            yield f"{what.replace('_', ' ')} was {former[:12]}, now {now[:12]}"
    current = versions(today, home)
    for plugin in ("dataset", "strategy", "backbone"):
        former, now = record.versions.get(plugin), current[plugin]
        if former is not None and former != now:
            yield f"{plugin} plugin was {former}, now {now}"
    for name in sorted(today.space.keys() - then.space.keys()):
        yield f"parameter {name} is new"
    for name in sorted(then.space.keys() - today.space.keys()):
        yield f"parameter {name} is gone"
    for name in sorted(today.space.keys() & then.space.keys()):
        if today.space[name] != then.space[name]:
            yield f"parameter {name} was {then.space[name]}, now {today.space[name]}"
