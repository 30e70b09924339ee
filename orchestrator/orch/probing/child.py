"""Asks plugins for their facts, in a process of its own; see `asking`.

    python -m orch.probing.child GROUP ANSWERS SECONDS NAME...

Each answer is one line of JSON in the file ANSWERS, written as soon as it is known.
"""

from __future__ import annotations

import dataclasses
import json
import os
import reprlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orch import registry
from orch.contracts import DatasetFacts, NetworkFacts, StrategyFacts
from orch.errors import first_line
from orch.probing import documents
from orch.probing.children import end_in_time
from orch.registry import BlockedError

LONGEST = 300  # characters of a reason
OTHERWISE = "its facts are not as the contract has them"
LOAD: Mapping[str, tuple[Callable[[str], Any], type]] = {
    registry.DATASETS: (registry.load_dataset, DatasetFacts),
    registry.STRATEGIES: (registry.load_strategy, StrategyFacts),
    registry.BACKBONES: (registry.load_backbone, NetworkFacts),
}


def main() -> None:
    """Ask each plugin, and write what it says."""
    group, answers, seconds, *names = sys.argv[1:]
    end_in_time(float(seconds))
    for name in names:
        answer = json.dumps({"name": name, **ask(group, name)})
        with Path(answers).open("a", encoding="utf-8") as file:
            file.write(f"{answer}\n")
    os._exit(0)  # whatever threads a plugin has started


def ask(group: str, name: str) -> dict[str, Any]:
    """The facts of one plugin, or why it is blocked."""
    try:
        return {"facts": _facts(group, name)}
    except BlockedError as error:
        why = error.why
    except (Exception, SystemExit) as error:
        why = f"asked for its facts it raised {type(error).__name__}: {first_line(error)}"
    return {"why": " ".join(why.split())[:LONGEST]}


def _facts(group: str, name: str) -> dict[str, Any]:
    load, wanted = LOAD[group]
    facts = load(name).facts
    if not isinstance(facts, wanted):
        said = type(facts).__name__
        raise BlockedError(group, name, f"its facts are {said}, not {wanted.__name__}")
    if facts.name != name:
        raise BlockedError(group, name, f"its facts call it {facts.name!r}")
    try:
        document: dict[str, Any] = json.loads(json.dumps(documents.encode(facts)))
        changed = _changed(facts, documents.DECODE[group](document))
    except documents.UNREADABLE as error:
        raise BlockedError(group, name, f"{OTHERWISE}: {first_line(error)}") from error
    if changed:
        raise BlockedError(group, name, f"{OTHERWISE}: {changed}")
    return document


def _changed(facts: Any, decoded: Any) -> str:
    """The first field that is another after its way through JSON, as a list for a tuple is."""
    for each in dataclasses.fields(facts):
        value = getattr(facts, each.name)
        if value != getattr(decoded, each.name):
            return f"{each.name} is {reprlib.repr(value)}"
    return ""


if __name__ == "__main__":
    main()
