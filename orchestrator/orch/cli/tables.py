"""Tables that more than one command shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orch import views
from orch.cli import output
from orch_db.records import SweepRecord, TrialRecord

TOP = 10
SHOWN_ELSEWHERE = ("frozen_layers",)


def sweep_result(record: SweepRecord, trials: Sequence[TrialRecord], top: int = TOP) -> None:
    """Print the best trials of a sweep, what was frozen in each, and a line for each failure."""
    best = views.ranked(record.direction, trials)[:top]
    names = [n for n in views.searched(record.spec.get("space")) if n not in SHOWN_ELSEWHERE]
    columns = ["#", "trial", record.metric, "frozen", *names, "epoch", "time", "state"]
    rows = [
        [
            rank,
            trial.id[:6],
            f"{trial.score:.4f}",
            frozen(trial),
            *(views.value(trial.params.get(name)) for name in names),
            epochs(trial),
            output.duration(trial.seconds),
            trial.state,
        ]
        for rank, trial in enumerate(best, start=1)
    ]
    if rows:
        planned = len(trials) if record.state == "completed" else int(record.spec["trials"])
        wanted = output.count(planned, "trial")
        title = f"{record.name} on {record.backbone}: the best {len(best)} of {wanted}"
        output.show_table(columns, rows, title)
    failures(trials)


def failures(trials: Sequence[TrialRecord]) -> None:
    """Say, on stderr, why trials failed: one line for each different reason."""
    reasons: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.failure_kind:
            reasons.setdefault(f"{trial.failure_kind}: {trial.failure_message}", []).append(trial)
    for reason, members in reasons.items():
        which = ", ".join(trial.id[:6] for trial in members[:3])
        more = f" and {len(members) - 3} more" if len(members) > 3 else ""
        output.say(f"failed  {which}{more}  {output.clean(reason)}")


def next_commands(record: SweepRecord, best: TrialRecord | None) -> None:
    """Say, on stderr, what may be typed next."""
    if best is None:
        return
    output.say(f"\nsweep {record.id[:6]} is saved. Next:")
    output.say(f"  orch trials show {best.id[:6]}")
    output.say(f"  orch leaderboard {record.dataset}")
    if record.state == "stopped":
        output.say(f"  orch sweeps resume {record.id[:6]}")


def frozen(trial: TrialRecord) -> str:
    """What was frozen: the count of layers, and the one up to which examples are computed once."""
    count = views.frozen(trial)
    cut = "" if trial.cut in (None, "none") else trial.cut
    return "-" if count is None else f"{count} {cut}".rstrip()


def epochs(trial: TrialRecord) -> str:
    """The best epoch out of those that were planned."""
    planned = sum(stage["epochs"] for stage in trial.plan.get("stages", ()))
    return f"{trial.best_epoch or '-'}/{planned or '-'}"


def chosen_options(dataset: str, spec: Mapping[str, Any]) -> list[str]:
    """The options of a sweep's dataset that are not its defaults, as "name=value"."""
    from orch.cli.door import enter

    if not spec.get("dataset_options"):
        return []
    settings, home = enter()
    return views.chosen_options(home, dataset, spec, settings.plugin_timeout)


def pairs(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A mapping as rows of name and short value."""
    return [(name, views.value(value)) for name, value in content.items()]
