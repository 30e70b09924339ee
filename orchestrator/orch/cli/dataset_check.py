"""`orch datasets check`: inspect a dataset, say what was found, calmly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import options, output, own_data
from orch.cli.door import enter
from orch.errors import DataError, UsageError

if TYPE_CHECKING:
    from orch.contracts import Split, Value
    from orch.inspection.report import Finding, Report
    from orch.kinds import OwnData

SHOWN = 3  # findings of each kind, and examples of each finding


@dataclass(frozen=True)
class Subject:
    """What is inspected: splits and classes, and what they are called."""

    name: str
    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    facts: Mapping[str, Any]
    own: OwnData | None = None
    """What the user said of files that are no dataset yet."""

    @property
    def words(self) -> str:
        """What names it on a command line."""
        return self.own.words if self.own else self.name


def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="A dataset's name, or a folder or archive.")
    ],
    kind: own_data.KindName = None,
    labels: own_data.Labels = None,
    path_column: own_data.PathColumn = None,
    label_column: own_data.LabelColumn = None,
    split_column: own_data.SplitColumn = None,
    split: options.Split = None,
    chosen: options.Chosen = None,
    as_json: output.Json = False,
) -> None:
    """Look for files that do not decode, pictures that are there twice, and rare classes."""
    from orch import views
    from orch.cli.live import steps
    from orch.inspection.folders import inspect_folder
    from orch.inspection.inspect import inspect

    flags = own_data.Flags(kind, labels, path_column, label_column, split_column)
    with steps() as progress:
        if own_data.is_own(name, None):
            own = own_data.described(name, None, flags)
            _require_here(own)
            report, splits, classes = inspect_folder(own, progress)
            as_typed = replace(own, source=name)
            subject = Subject(own.name, splits, classes, {"dataset": None}, as_typed)
        else:
            own_data.require_known(enter()[1], name)
            flags.refuse(name)
            subject = _installed(name, options.read(chosen, split))
            report = inspect(subject.name, subject.splits, subject.classes, progress)
    if as_json:
        output.print_json(views.document(**subject.facts, **report.to_json()))
    else:
        _show(subject, report)
    _conclude(subject, report)


def _require_here(own: OwnData) -> None:
    """Refuse an address: what is there must be brought before it can be looked at."""
    if "://" in own.source:
        raise UsageError(
            f"{own.source} is not here yet; nothing was checked",
            f"orch datasets add {own.words} --name {own.name}, then check {own.name}",
        )


def _installed(name: str, stated: Mapping[str, str]) -> Subject:
    """An installed dataset, opened with these options."""
    from orch import catalog, search_space

    settings, home = enter()
    facts = catalog.facts(home, name, settings.plugin_timeout)
    wanted: Mapping[str, Value] = search_space.options(facts, stated)
    splits = catalog.open_splits(home, name, wanted)
    installed = catalog.find(home, name)
    digest = catalog.digest(home, installed, wanted) if installed else None
    return Subject(
        name,
        splits,
        facts.classes,
        {"dataset": name, "dataset_options": dict(wanted), "digest": digest},
    )


def _conclude(subject: Subject, report: Report) -> None:
    """Say what it comes to; errors decide the exit code.

    Raises:
        DataError: there are errors.
    """
    name = subject.name
    errors, warnings = (output.count(report.count(each), each) for each in ("error", "warning"))
    if report.count("error"):
        raise DataError(
            f"{name} has {errors} and {warnings}; nothing was changed",
            f"orch datasets check {subject.words} --json, which names every file",
        )
    following = f"orch datasets add {subject.words}" if subject.own else f"orch sweep {name}"
    said = f"{name} has {warnings}, no error" if report.count("warning") else ""
    output.say(f"{said or f'nothing is wrong with {name}'}. Next: {following}")


def _show(subject: Subject, report: Report) -> None:
    """Print the report: what each kind came to, then the first few findings of each."""
    from rich.padding import Padding
    from rich.text import Text

    console = output.console()
    for indent, line in _lines(subject, report):
        text = Text(output.clean(line), overflow="fold")
        if console.is_terminal and line:
            console.print(Padding(text, (0, 0, 0, indent), expand=False))
        else:
            print(" " * indent + text.plain)


def _lines(subject: Subject, report: Report) -> Iterator[tuple[int, str]]:
    """Lines of the report, each with its indentation."""
    from orch.inspection.report import KINDS

    splits = ", ".join(f"{name} {len(each.labels):,}" for name, each in subject.splits.items())
    yield (
        0,
        f"{subject.name}: {output.count(report.examples, 'example')} ({splits}), "
        + output.count(len(subject.classes), "class", "classes"),
    )
    if report.folder:
        yield 0, f"files are in {report.folder}"
    found = {kind: report.of(kind) for kind in KINDS}
    for kind, findings in found.items():
        if findings:
            yield 0, ""
            yield 0, f"{KINDS[kind].severity:<8}{len(findings):>6,}  {KINDS[kind].title}"
            for each in findings[:SHOWN]:
                yield 4, _finding(each)
            if len(findings) > SHOWN:
                yield 4, f"and {len(findings) - SHOWN:,} more: --json"
    clear = [kind.replace("-", " ") for kind, findings in found.items() if not findings]
    if clear:
        yield 0, ""
        yield 0, f"none: {', '.join(clear)}"


def _finding(found: Finding) -> str:
    """One finding in a line: a group by its examples, another by what was said of it."""
    firsts = {(each.label, each.split): each for each in reversed(found.examples)}.values()
    rest = [each for each in found.examples if each not in firsts]
    names = [each.name for each in [*reversed(firsts), *rest][:SHOWN]]
    more = len(found.examples) - SHOWN
    names += [f"{more:,} more"] if more > 0 else []
    listed = (" ≈ " if found.kind.startswith("near") else " = ").join(names)
    if len(found.examples) > 1:
        return listed
    return f"{listed}: {found.summary}" if listed else found.summary
