"""Inspects a dataset: one pass over its examples, then everything that can be said of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orch import registry
from orch.contracts import FileBacked, Progress, Split
from orch.errors import PluginError
from orch.inspection import duplicates, fingerprints, proportions
from orch.inspection.report import KINDS, Example, Finding, Report

NEAR_FROM = 16  # pixels of the shorter side: smaller pictures have too few to be told apart


def inspect(
    name: str, splits: Mapping[str, Split], classes: Sequence[str], progress: Progress
) -> Report:
    """Read every example of a dataset once and report what is wrong or odd.

    Memory is 3 KiB for each example, and a few that are being decoded. An example that raises
    DataError is a finding, and the rest is inspected.

    Raises:
        PluginError: the dataset breaks its contract.
    """
    with registry.blaming("dataset", name):
        folder, files = _files(name, splits)
        labels = {split: _labels(name, served, len(classes)) for split, served in splits.items()}
    prints = fingerprints.take(name, splits, progress)
    examples = [
        Example(file, split, index, classes[int(label)])
        for split, of_split in labels.items()
        for index, (file, label) in enumerate(zip(files[split], of_split, strict=True))
    ]
    found = _Findings(prints, examples)
    counts = {split: _counts(of_split, classes) for split, of_split in labels.items()}
    return Report(
        examples=len(examples),
        folder=folder,
        findings=ordered(
            [
                *found.undecodable(),
                *found.duplicates(progress),
                *proportions.imbalance("train", counts.get("train", {})),
                *proportions.tiny(counts),
                *found.size_outliers(),
            ]
        ),
    )


@dataclass(frozen=True)
class _Findings:
    """Turns rows into findings about examples."""

    prints: fingerprints.Fingerprints
    examples: Sequence[Example]

    def undecodable(self) -> Iterator[Finding]:
        for row, why in self.prints.faults.items():
            yield Finding("undecodable", why, (self.examples[row],))

    def size_outliers(self) -> Iterator[Finding]:
        for row, why in proportions.size_outliers(self.prints.sizes).items():
            yield Finding("size-outlier", why, (self.examples[row],))

    def duplicates(self, progress: Progress) -> Iterator[Finding]:
        whole = duplicates.exact(self.prints.digests)
        for group in whole:
            if len(group) > 1:
                yield from self._grouped("duplicate", group)
        firsts = np.array([group[0] for group in whole], np.int64)
        shorter = self.prints.sizes[firsts].min(axis=1, initial=2**31)
        large = firsts[shorter >= NEAR_FROM]
        near = duplicates.near(self.prints.thumbnails, large, progress)
        for group in duplicates.spread(near, whole):
            yield from self._grouped("near-duplicate", group)

    def _grouped(self, kind: str, rows: Iterable[int]) -> Iterator[Finding]:
        """A group across classes, across splits, across both (then there are two), or neither."""
        members = tuple(sorted((self.examples[row] for row in rows), key=_place))
        classes = sorted({each.label for each in members})
        splits = sorted({each.split for each in members})
        if len(classes) > 1:
            yield Finding(f"{kind}-across-classes", " and ".join(classes), members)
        if len(splits) > 1:
            yield Finding(f"{kind}-across-splits", " and ".join(splits), members)
        if len(classes) == len(splits) == 1:
            yield Finding(kind, f"{classes[0]} in {splits[0]}", members)


def _place(example: Example) -> tuple[str, str, int]:
    """Files by their name, so that the order in which a dataset serves them is not seen."""
    return example.file or "", example.split, example.index


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in the order of a report."""
    order = {kind: at for at, kind in enumerate(KINDS)}
    return tuple(
        sorted(
            findings,
            key=lambda each: (order[each.kind], [_place(e) for e in each.examples], each.summary),
        )
    )


def _labels(name: str, split: Split, classes: int) -> NDArray[np.int64]:
    labels = np.asarray(split.labels)
    if labels.ndim != 1 or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        raise PluginError(
            f"the dataset {name!r} serves labels that are not whole numbers from 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def _counts(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, counts, strict=True))


def _files(
    name: str, splits: Mapping[str, Split]
) -> tuple[str | None, dict[str, Sequence[str | None]]]:
    """The folder that holds all files, and every example's file within it, where it has one."""
    paths = {
        split: [Path(path).absolute() for path in served.paths]
        for split, served in splits.items()
        if isinstance(served, FileBacked)
    }
    for split, listed in paths.items():
        if len(listed) != len(splits[split].labels):
            raise PluginError(f"the dataset {name!r} names not one file for each label of {split}")
    parents = {str(path.parent) for listed in paths.values() for path in listed}
    folder = os.path.commonpath(parents) if parents else None
    files: dict[str, Sequence[str | None]] = {
        split: [path.relative_to(folder or "/").as_posix() for path in paths[split]]
        if split in paths
        else [None] * len(served.labels)
        for split, served in splits.items()
    }
    return folder, files
