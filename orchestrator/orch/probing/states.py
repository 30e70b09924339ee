"""Whether a plugin can be used, as far as is known without running it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from orch import registry
from orch.home import Home
from orch.probing import files, memory
from orch.registry import Plugin


@dataclass(frozen=True)
class State:
    """A plugin, its file, and why it is blocked; an empty `why` means that it is ready."""

    plugin: Plugin
    file: Path | None
    why: str = ""

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.plugin.name

    @property
    def word(self) -> str:
        """ "ready" or "blocked"."""
        return "blocked" if self.why else "ready"

    def __str__(self) -> str:
        return (
            f"the plugin {self.name} of {self.plugin.origin} is blocked: {self.why}; "
            f"orch plugins check {self.name}"
        )


def states(home: Home) -> tuple[State, ...]:
    """Every plugin of every kind; none is imported and no process is started.

    Blocked is what its file already shows, and what failed when it was last asked.
    """
    remembered = {group: memory.read(home, group) for group in registry.GROUPS}
    return tuple(
        _with_memory(state, remembered[state.plugin.group]) for state in seen(registry.installed())
    )


def seen(plugins: tuple[Plugin, ...]) -> tuple[State, ...]:
    """What metadata and files alone say of these plugins."""
    times = Counter((plugin.group, plugin.name) for plugin in plugins)
    found: list[State] = []
    for plugin in plugins:
        source = files.read(plugin)
        contested = times[plugin.group, plugin.name] > 1
        why = registry.CONTESTED if contested else source.fault
        found.append(State(plugin, source.file, why))
    return tuple(found)


def _with_memory(state: State, remembered: memory.Memory) -> State:
    last = remembered.get(state.name)
    if state.why or last is None or last.key != memory.key(state.plugin, state.file):
        return state
    return State(state.plugin, state.file, last.why)
