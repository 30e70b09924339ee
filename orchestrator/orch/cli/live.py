"""The live view of a sweep on stderr: a table on a terminal, a few calm lines when piped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from orch import views
from orch.cli import output, tables

if TYPE_CHECKING:
    from orch.contracts import Progress
    from orch.errors import OrchError
    from orch.planning.spec import SweepSpec
    from orch.sweeps.progress import SweepProgress, Watcher
    from orch.trials import Filling
    from orch_db.records import TrialRecord

CALM_SECONDS = 30.0  # between lines that say how far a long step has come, when piped


@contextmanager
def steps() -> Generator[Progress]:
    """Show long steps before a sweep: a bar on a terminal, a line now and then otherwise."""
    if not sys.stderr.isatty():
        yield _PlainSteps()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(step: str, done: int, total: int | None) -> None:
            for former in [name for name in tasks if name != step]:
                bars.remove_task(tasks.pop(former))
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield show


class _PlainSteps:
    def __init__(self) -> None:
        self._step = ""
        self._said = 0.0

    def __call__(self, step: str, done: int, total: int | None) -> None:
        if step == self._step and time.monotonic() - self._said < CALM_SECONDS:
            return
        self._step, self._said = step, time.monotonic()
        share = f" {100 * done // total} %" if total and done else ""
        output.say(f"{step}{share}")


@contextmanager
def watching(spec: SweepSpec) -> Generator[Watcher]:
    """A watcher that suits where stderr goes."""
    searched = views.searched(spec.space)
    output.say(
        f"sweep {spec.id[:6]}  "
        f"{' '.join([spec.dataset, *tables.chosen_options(spec.dataset, spec.to_json())])} "
        f"× {spec.strategy} on {spec.backbone}, "
        f"{output.count(spec.trials, 'trial')} over {', '.join(searched) or 'one configuration'}"
    )
    if not sys.stderr.isatty():
        yield PlainWatcher()
        return
    from rich.live import Live

    with Live(console=output.console(stderr=True), refresh_per_second=4, transient=True) as live:
        yield LiveWatcher(live)


def abandon(error: OrchError) -> NoReturn:
    """End the process at once with an error, also while its main thread cannot."""
    from orch.cli import complain

    if sys.stderr.isatty():
        output.console(stderr=True).show_cursor()
    complain(error.message, error.hint)
    sys.stderr.flush()
    os._exit(error.exit_code)


class PlainWatcher:
    """One line when a trial ends; nothing else."""

    def __init__(self) -> None:
        self._note = ""
        self._said = time.monotonic()

    def show(self, progress: SweepProgress) -> None:
        """Say a new note once, and now and then how far something long has come."""
        if progress.note != self._note:
            self._note = progress.note
            output.say(self._note)
        fillings = [trial.filling for trial in progress.running if trial.filling is not None]
        if fillings and time.monotonic() - self._said >= CALM_SECONDS:
            self._said = time.monotonic()
            output.say(_filling(fillings[0]))

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None:
        """Say how a trial ended and how far the sweep is."""
        self.show(progress)
        score = f"{trial.score:.4f}" if trial.score is not None else "-"
        why = f"  {output.clean(trial.failure_message or '')}" if trial.failure_kind else ""
        output.say(
            f"[{progress.ended}/{progress.spec.trials}] trial {trial.id[:6]} {trial.state}  "
            f"{progress.spec.objective.metric} {score}  frozen {tables.frozen(trial)}"
            f"  {output.duration(trial.seconds)}{why}"
        )

    def trial_again(self, trial: TrialRecord, why: str, progress: SweepProgress) -> None:
        """Say that a trial will be tried again, and why."""
        output.say(_again(trial, why))


class LiveWatcher:
    """A table that is redrawn: counts, best so far, epochs of running trials, time left."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self._progress: SweepProgress | None = None
        self._live.update(self)

    def __rich__(self) -> Any:
        """Drawn anew four times a second, so that the clock does not stand still."""
        return _drawn(self._progress) if self._progress else "starting Ray and the workers …"

    def show(self, progress: SweepProgress) -> None:
        """Take what is drawn from now on."""
        self._progress = progress

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None:
        """Redraw; a failure also leaves a line above the table."""
        if trial.failure_kind:
            why = output.clean(f"{trial.failure_kind}: {trial.failure_message}")
            self._live.console.print(f"trial {trial.id[:6]} failed  {why}")
        self.show(progress)

    def trial_again(self, trial: TrialRecord, why: str, progress: SweepProgress) -> None:
        """Leave a line above the table."""
        self._live.console.print(_again(trial, why))
        self.show(progress)


def _again(trial: TrialRecord, why: str) -> str:
    return f"trial {trial.id[:6]} is tried again (attempt {trial.attempt})  {output.clean(why)}"


def _filling(filling: Filling) -> str:
    return f"{filling.what}, once: {filling.done:,}/{filling.total:,}"


def _drawn(progress: SweepProgress) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = progress.counts
    states = ("running", "completed", "pruned", "failed")
    words = "  ".join(f"{counts.get(state, 0)} {state}" for state in states)
    left = f"  {output.duration(progress.left)} left" if progress.left is not None else ""
    best = progress.best
    lines: list[Any] = [
        Text(
            f"{progress.ended}/{output.count(progress.spec.trials, 'trial')}  {words}  "
            f"{output.duration(progress.elapsed)}{left}"
        )
    ]
    if best is not None and best.score is not None:
        metric = progress.spec.objective.metric
        lines.append(
            Text(
                f"best {metric} {best.score:.4f}  trial {best.id[:6]}, frozen "
                f"{tables.frozen(best)}",
                style="bold green",
            )
        )
    running = Table.grid(padding=(0, 2))
    for trial in progress.running:
        score = f"{trial.score:.4f}" if trial.score is not None else ""
        if trial.filling is not None:
            bar = ProgressBar(max(trial.filling.total, 1), trial.filling.done, width=20)
            running.add_row(f"trial {trial.id[:6]}", bar, _filling(trial.filling), "")
            continue
        bar = ProgressBar(max(trial.epochs, 1), trial.epoch, width=20)
        running.add_row(f"trial {trial.id[:6]}", bar, f"epoch {trial.epoch}/{trial.epochs}", score)
    lines.append(running)
    if progress.note:
        lines.append(Text(progress.note, style="yellow"))
    return Group(*lines)
