"""Facts of plugins, asked for in processes of their own and kept until the plugin changes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from orch import registry
from orch.contracts import DatasetFacts, NetworkFacts, StrategyFacts
from orch.home import Home
from orch.probing import children, memory
from orch.probing.documents import DECODE, UNREADABLE
from orch.probing.memory import Remembered
from orch.probing.states import State, seen
from orch.registry import BlockedError

PATIENCE = 20.0  # seconds, where no setting says otherwise

F = TypeVar("F", DatasetFacts, StrategyFacts, NetworkFacts)


@dataclass(frozen=True)
class Answers(Generic[F]):
    """The facts of the plugins that can be used, by name, and those that are blocked."""

    facts: Mapping[str, F] = field(default_factory=dict[str, F])
    blocked: tuple[State, ...] = ()


def datasets(home: Home, seconds: float = PATIENCE) -> Answers[DatasetFacts]:
    """The facts of every dataset plugin; what has not changed is remembered."""
    return _ask(home, registry.DATASETS, seconds)


def strategies(home: Home, seconds: float = PATIENCE) -> Answers[StrategyFacts]:
    """The facts of every strategy plugin."""
    return _ask(home, registry.STRATEGIES, seconds)


def backbones(home: Home, seconds: float = PATIENCE) -> Answers[NetworkFacts]:
    """The facts of every backbone plugin."""
    return _ask(home, registry.BACKBONES, seconds)


def facts(home: Home, group: str, name: str, seconds: float = PATIENCE) -> Any:
    """The facts of one plugin; where it is blocked it is asked again, once more in another process.

    Whoever imports a plugin into this process asks this before: it may hang, exit or crash.

    Raises:
        NotFoundError: no plugin of that group has that name.
        BlockedError: it cannot be used.
    """
    registry.find(group, name)
    found = [each for each in registry.installed() if (each.group, each.name) == (group, name)]
    state = seen(tuple(found))[0]
    last = _known(home, group, [state]).get(name)
    if not state.why and (last is None or last.why):
        last = _fresh(group, [state], seconds)[name]
        memory.write(home, group, {**memory.read(home, group), name: last})
    if state.why or last is None or last.why:
        raise BlockedError(group, name, state.why or (last.why if last else ""))
    return DECODE[group](last.facts)


def _ask(home: Home, group: str, seconds: float) -> Answers[Any]:
    plugins = tuple(each for each in registry.installed() if each.group == group)
    present = seen(plugins)
    remembered = _known(home, group, present)
    unknown = [each for each in present if not each.why and each.name not in remembered]
    if unknown:
        fresh = _fresh(group, unknown, seconds)
        remembered = {**remembered, **fresh}
        memory.write(home, group, remembered)
    return _sorted_out(group, present, remembered)


def _known(home: Home, group: str, present: Sequence[State]) -> memory.Memory:
    """What is remembered of plugins that are as they were."""
    kept = memory.read(home, group)
    found: dict[str, Remembered] = {}
    for state in present:
        last = kept.get(state.name)
        if last is not None and last.key == memory.key(state.plugin, state.file):
            with suppress(*UNREADABLE):
                if not last.why:
                    DECODE[group](last.facts)
                found[state.name] = last
    return found


def _sorted_out(group: str, present: Sequence[State], known: memory.Memory) -> Answers[Any]:
    facts: dict[str, Any] = {}
    blocked: list[State] = []
    for state in present:
        why = state.why or known[state.name].why
        if why:
            blocked.append(State(state.plugin, state.file, why))
        else:
            facts[state.name] = DECODE[group](known[state.name].facts)
    return Answers(facts, tuple(blocked))


# ── in processes of their own ───────────────────────────────────────────────────────────────


def _fresh(group: str, asked: Sequence[State], seconds: float) -> memory.Memory:
    """What these plugins say now: all of them in one process, alone those that it lost."""
    keys = {each.name: memory.key(each.plugin, each.file) for each in asked}
    answers, death = _run(group, list(keys), seconds)
    if death and len(keys) > 1:
        for name in keys.keys() - answers.keys():
            alone, death = _run(group, [name], seconds)
            answers[name] = alone.get(name, {"why": death})
    lost = {"why": death or "it gave no answer"}
    return {name: _remembered(group, keys[name], answers.get(name, lost)) for name in keys}


def _remembered(group: str, key: str, answer: Mapping[str, Any]) -> Remembered:
    if why := answer.get("why"):
        return Remembered(key, why=str(why))
    try:
        DECODE[group](answer["facts"])
        return Remembered(key, answer["facts"])
    except UNREADABLE:
        return Remembered(key, why="what it says of itself cannot be read")


def _run(
    group: str, names: Sequence[str], seconds: float
) -> tuple[dict[str, Mapping[str, Any]], str]:
    """What plugins answered in one process, and how it failed, if it did."""
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        file = Path(folder) / "answers"
        file.touch()
        words = [group, str(file), str(seconds), *names]
        with children.started("orch.probing.child", words) as process:
            in_time = children.ended(process, seconds)
        answers = dict(_read(file))
    if not in_time:
        return answers, f"it is not imported after {seconds:g} s"
    if process.returncode or answers.keys() != set(names):
        how = children.death(process.returncode)
        return answers, f"importing it ends the process ({how})"
    return answers, ""


def _read(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The whole lines of a file of answers; a process may have ended within one."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(*UNREADABLE):
            answer = json.loads(line)
            yield str(answer["name"]), answer
