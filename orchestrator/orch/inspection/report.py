"""What an inspection found, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how bad it is, and what it says about an example or a class."""

    severity: Severity
    title: str


KINDS: Mapping[str, Kind] = {
    "undecodable": Kind("error", "cannot be decoded"),
    "duplicate-across-classes": Kind("error", "the same picture in different classes"),
    "duplicate-across-splits": Kind("error", "the same picture in different splits"),
    "duplicate": Kind("warning", "the same picture again in one class and split"),
    "near-duplicate-across-classes": Kind("warning", "nearly the same in different classes"),
    "near-duplicate-across-splits": Kind("warning", "nearly the same in different splits"),
    "near-duplicate": Kind("warning", "nearly the same in one class and split"),
    "imbalance": Kind("warning", "classes of very different sizes"),
    "tiny-class": Kind("warning", "classes with few examples"),
    "size-outlier": Kind("warning", "much smaller, larger, wider or taller than the others"),
}
"""Every kind of finding, in the order in which a report has them."""


@dataclass(frozen=True, order=True)
class Example:
    """One example: its file relative to the report's folder (None: it has none), split, row, class.

    `index` counts from 0 within the split; it is -1 for a file that could not be served.
    """

    file: str | None
    split: str
    index: int
    label: str

    @property
    def name(self) -> str:
        """What a person finds it by: its file and split, or its split and row."""
        if self.file is None:
            return f"{self.split} {self.index} ({self.label})"
        within = self.file.startswith(f"{self.split}/")
        return self.file if within else f"{self.file} ({self.split})"


@dataclass(frozen=True)
class Finding:
    """One thing that was found: a key of KINDS, what it is in words, the examples it is about."""

    kind: str
    summary: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that was found in `examples` examples; `folder` holds their files, if any.

    Findings are in the order of KINDS; their order does not depend on that of the examples of
    which each is a file.
    """

    examples: int
    folder: str | None
    findings: tuple[Finding, ...]

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(each for each in self.findings if each.kind == kind)

    def count(self, severity: Severity) -> int:
        """How many findings are errors, or warnings."""
        return sum(KINDS[each.kind].severity == severity for each in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "examples": self.examples,
            "folder": self.folder,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "counts": {kind: len(self.of(kind)) for kind in KINDS},
            "findings": [_finding(each) for each in self.findings],
        }


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "severity": KINDS[found.kind].severity,
        "summary": found.summary,
        "examples": [
            {("class" if key == "label" else key): value for key, value in asdict(each).items()}
            for each in found.examples
        ],
    }
