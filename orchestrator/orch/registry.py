"""Finds plugins by entry point. Names come from metadata; a plugin is imported when used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from io import BytesIO, TextIOWrapper
from typing import Any

from orch.contracts import API, Backbone, Dataset, NetworkFacts, Strategy, Value
from orch.errors import NotFoundError, OrchError, PluginError, first_line
from orch.kinds import Gallery, Kind

DATASETS = "orch.datasets"
STRATEGIES = "orch.strategies"
BACKBONES = "orch.backbones"
KINDS = "orch.kinds"
GALLERIES = "orch.galleries"
GROUPS = {
    DATASETS: "dataset",
    STRATEGIES: "strategy",
    BACKBONES: "backbone",
    KINDS: "kind",
    GALLERIES: "gallery",
}
"""Every group of entry points in which plugins are found, and what one of them is called."""
LISTS = {
    DATASETS: "orch datasets",
    STRATEGIES: "orch strategies",
    BACKBONES: "orch backbones",
    KINDS: "orch plugins",
    GALLERIES: "orch plugins",
}
CHECKED = (DATASETS, STRATEGIES, BACKBONES)
"""The groups for whose plugins `orch plugins check` has checks."""
PROTOCOLS: Mapping[str, tuple[type[Any], str]] = {
    DATASETS: (Dataset, "`facts`, `install` or `open`"),
    STRATEGIES: (Strategy, "`facts`, `parameters` or `plan`"),
    BACKBONES: (Backbone, "`facts`, `build` or `preprocess`"),
    KINDS: (Kind, "`title`, `options`, `keep` or `dataset`"),
    GALLERIES: (Gallery, "`title` or `bring`"),
}
"""What a plugin of each group is, and the parts that it has."""
CONTESTED = "two distributions bring it"


@dataclass(frozen=True)
class Plugin:
    """What metadata say of a plugin: `target` is its entry point's value, "module:Class"."""

    kind: str
    group: str
    name: str
    distribution: str
    version: str
    target: str

    @property
    def origin(self) -> str:
        """The distribution that brings it, as "name version"."""
        return f"{self.distribution} {self.version}".rstrip()


class BlockedError(PluginError):
    """A plugin cannot be used; `why` is the reason alone."""

    def __init__(self, group: str, name: str, why: str) -> None:
        super().__init__(
            f"the plugin {name!r} of {version(group, name)} cannot be used: {why}; "
            "nothing was started",
            f"orch plugins check {name}" if group in CHECKED else "remove that distribution",
        )
        self.why = why


def installed() -> tuple[Plugin, ...]:
    """Every plugin of every kind, by kind and name, without importing one.

    A name that two distributions bring is there twice.
    """
    return tuple(
        _plugin(group, point)
        for group in GROUPS
        for _, points in sorted(_found(group).items())
        for point in points
    )


def find(group: str, name: str) -> Plugin:
    """What metadata say of one plugin; of a name that is there twice, the first.

    Raises:
        NotFoundError: no plugin of that group has that name.
    """
    found = _found(group)
    if name not in found:
        raise _unknown(group, name)
    return _plugin(group, found[name][0])


def _unknown(group: str, name: str) -> NotFoundError:
    return NotFoundError.among(GROUPS[group], name, _found(group), f"{LISTS[group]} lists all")


def _plugin(group: str, point: EntryPoint) -> Plugin:
    by = point.dist
    about = (by.name, by.version) if by else ("unknown", "")
    return Plugin(GROUPS[group], group, point.name, *about, point.value)


def dataset_names() -> list[str]:
    """The names of all dataset plugins, without importing one."""
    return sorted(_found(DATASETS))


def strategy_names() -> list[str]:
    """The names of all strategy plugins, without importing one."""
    return sorted(_found(STRATEGIES))


def backbone_names() -> list[str]:
    """The names of all backbone plugins, without importing one."""
    return sorted(_found(BACKBONES))


def load_dataset(name: str, options: Mapping[str, Value] | None = None) -> Dataset:
    """Import and check one dataset plugin, built with these options; others keep their default.

    Raises:
        NotFoundError: no plugin has that name.
        PluginError: it cannot be imported or breaks the contract.
    """
    return _load(DATASETS, name, options or {})


def load_strategy(name: str) -> Strategy:
    """Import and check one strategy plugin.

    Raises:
        NotFoundError: no plugin has that name.
        PluginError: it cannot be imported or breaks the contract.
    """
    return _load(STRATEGIES, name, {})


def load_backbone(name: str) -> Backbone:
    """Import and check one backbone plugin.

    Raises:
        NotFoundError: no plugin has that name.
        PluginError: it cannot be imported or breaks the contract.
    """
    plugin: Backbone = _load(BACKBONES, name, {})
    if not isinstance(plugin.facts, NetworkFacts) or plugin.facts.name != name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _broken(BACKBONES, name, "its `facts` are no NetworkFacts of that name")
    return plugin


def load_kind(name: str) -> Kind:
    """Import and check one kind of users' own files.

    Raises:
        NotFoundError: there is no such kind.
        PluginError: it cannot be imported or breaks the contract.
    """
    return _load(KINDS, name, {})


def kind_names() -> list[str]:
    """The names of all kinds of users' own files, without importing one."""
    return sorted(_found(KINDS))


def load_gallery(name: str) -> Gallery:
    """Import and check one library of datasets, by the word before "://".

    Raises:
        NotFoundError: there is no such library.
        PluginError: it cannot be imported or breaks the contract.
    """
    return _load(GALLERIES, name, {})


@contextmanager
def blaming(kind: str, name: str, *passed: type[Exception]) -> Generator[None]:
    """Turn whatever a plugin raises into a PluginError that names it, but for what is `passed`."""
    try:
        yield
    except (OrchError, *passed):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the {kind} {name!r} raised {type(error).__name__}: {first_line(error)}",
            advice(kind, name),
        ) from error


def advice(kind: str, name: str) -> str:
    """What to type about a plugin that is at fault; "" where it cannot be checked."""
    checked = kind in {GROUPS[group] for group in CHECKED}
    return f"orch plugins check {name}" if checked else ""


def version(group: str, name: str) -> str:
    """The distribution that brought a plugin, as "name version"; more than one with "and".

    It is "unknown" where the plugin is gone.
    """
    points = _found(group).get(name, ())
    return " and ".join(_plugin(group, point).origin for point in points) or "unknown"


@cache  # reading every distribution's metadata takes longer than training a small head
def _found(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def forget() -> None:
    """Look again which plugins are installed, when one is next asked for."""
    importlib.invalidate_caches()
    _found.cache_clear()


def _load(group: str, name: str, options: Mapping[str, Value]) -> Any:
    found = _found(group)
    if name not in found:
        raise _unknown(group, name)
    if len(found[name]) > 1:
        raise _broken(group, name, CONTESTED)
    try:
        with _stdout_kept():
            plugin = found[name][0].load()(**options)
    except SystemExit as error:
        raise _broken(group, name, f"it ends the program (SystemExit: {error})") from error
    except Exception as error:
        raise _broken(group, name, f"{type(error).__name__}: {first_line(error)}") from error
    api = getattr(plugin, "api", None)
    if api != API:
        raise _broken(group, name, other_api(api))
    protocol, parts = PROTOCOLS[group]
    if not isinstance(plugin, protocol):
        raise _broken(group, name, f"it lacks {parts}")
    return plugin


@contextmanager
def _stdout_kept() -> Generator[None]:
    """What a plugin prints while it is imported goes to stderr, without control characters: stdout
    is the command's own.
    """
    printed = BytesIO()
    stream = TextIOWrapper(printed, encoding="utf-8", errors="backslashreplace")
    try:
        with redirect_stdout(stream):
            yield
    finally:
        with suppress(ValueError):  # the plugin has closed it
            stream.flush()
            said = printed.getvalue().decode("utf-8", "replace")
            sys.stderr.write("".join(each for each in said if each.isprintable() or each == "\n"))


def other_api(api: object) -> str:
    """Say that a plugin is written for another version of the protocols."""
    return f"it is written for api = {api!r}, this orch has api = {API}"


def _broken(group: str, name: str, why: str) -> BlockedError:
    return BlockedError(group, name, why)
