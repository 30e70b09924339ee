"""Inspecting files that are no dataset yet: what would be found if they were added."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orch import registry
from orch.contracts import Progress, Split
from orch.inspection.inspect import inspect, ordered
from orch.inspection.report import Example, Finding, Report
from orch.kinds import Omitted, OwnData

NOT_SERVED = -1


def inspect_folder(
    own: OwnData, progress: Progress
) -> tuple[Report, dict[str, Split], tuple[str, ...]]:
    """Inspect a user's folder or archive; returns its splits and classes too.

    A folder's files are read where they are; nothing is added.

    Raises:
        DataError: there are no labelled files in any layout that is known.
    """
    kind, source = registry.load_kind(own.kind), Path(own.source)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "content"
        folder.mkdir()
        wanted = replace(own, link=source.is_dir(), skip_broken=True)
        omitted = kind.keep(wanted, source, folder, progress)
        dataset = kind.dataset(own, folder, {})
        splits = dict(dataset.open(folder))
        report = inspect(own.name, splits, dataset.facts.classes, progress)
        return _completed(report, folder, own.source, omitted), splits, dataset.facts.classes


def _completed(report: Report, folder: Path, source: str, omitted: Sequence[Omitted]) -> Report:
    """The report with what could not be served, and with files as the user knows them."""
    undecodable = [
        Finding("undecodable", each.why, (Example(each.path, each.split, NOT_SERVED, each.label),))
        for each in omitted
    ]
    return Report(
        report.examples + len(omitted),
        source,
        ordered([*undecodable, *(_below(each, report, folder) for each in report.findings)]),
    )


def _below(found: Finding, report: Report, folder: Path) -> Finding:
    """A finding whose files are named from the folder that the user gave."""
    if report.folder is None:
        return found
    start = Path(report.folder).relative_to(folder / "files")
    named = (
        replace(each, file=None if each.file is None else (start / each.file).as_posix())
        for each in found.examples
    )
    return replace(found, examples=tuple(named))
