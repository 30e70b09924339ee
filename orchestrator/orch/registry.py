"""Finds plugins by entry point. Names come from metadata; a plugin is imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from orch.contracts import API, Backbone, Dataset, NetworkFacts, Strategy, Value
from orch.errors import NotFoundError, OrchError, PluginError, first_line
from orch.kinds import Gallery, Kind

DATASETS = "orch.datasets"
STRATEGIES = "orch.strategies"
BACKBONES = "orch.backbones"
KINDS = "orch.kinds"
GALLERIES = "orch.galleries"
LISTED = {
    DATASETS: "orch datasets lists all",
    STRATEGIES: "orch strategies lists all",
    BACKBONES: "orch backbones lists all",
    KINDS: "orch datasets add --help",
    GALLERIES: "orch datasets add --help",
}
"""For each group of plugins, where its names are listed."""


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
    plugin = _load(DATASETS, "dataset", name, options or {})
    if not isinstance(plugin, Dataset):
        raise _broken(DATASETS, name, "it lacks `facts`, `install` or `open`")
    return plugin


def load_strategy(name: str) -> Strategy:
    """Import and check one strategy plugin.

    Raises:
        NotFoundError: no plugin has that name.
        PluginError: it cannot be imported or breaks the contract.
    """
    plugin = _load(STRATEGIES, "strategy", name, {})
    if not isinstance(plugin, Strategy):
        raise _broken(STRATEGIES, name, "it lacks `facts`, `parameters` or `plan`")
    return plugin


def load_backbone(name: str) -> Backbone:
    """Import and check one backbone plugin.

    Raises:
        NotFoundError: no plugin has that name.
        PluginError: it cannot be imported or breaks the contract.
    """
    plugin = _load(BACKBONES, "backbone", name, {})
    if not isinstance(plugin, Backbone):
        raise _broken(BACKBONES, name, "it lacks `facts`, `build` or `preprocess`")
    if not isinstance(plugin.facts, NetworkFacts) or plugin.facts.name != name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _broken(BACKBONES, name, "its `facts` are no NetworkFacts of that name")
    return plugin


def load_kind(name: str) -> Kind:
    """Import and check one kind of users' own files.

    Raises:
        NotFoundError: there is no such kind.
        PluginError: it cannot be imported or breaks the contract.
    """
    plugin = _load(KINDS, "kind", name, {})
    if not isinstance(plugin, Kind):
        raise _broken(KINDS, name, "it lacks `title`, `options`, `keep` or `dataset`")
    return plugin


def kind_names() -> list[str]:
    """The names of all kinds of users' own files, without importing one."""
    return sorted(_found(KINDS))


def load_gallery(name: str) -> Gallery:
    """Import and check one library of datasets, by the word before "://".

    Raises:
        NotFoundError: there is no such library.
        PluginError: it cannot be imported or breaks the contract.
    """
    plugin = _load(GALLERIES, "gallery", name, {})
    if not isinstance(plugin, Gallery):
        raise _broken(GALLERIES, name, "it lacks `title` or `bring`")
    return plugin


@contextmanager
def blaming(kind: str, name: str) -> Generator[None]:
    """Turn whatever a plugin raises into a PluginError that names it."""
    try:
        yield
    except OrchError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the {kind} {name!r} raised {type(error).__name__}: {first_line(error)}"
        ) from error


def version(group: str, name: str) -> str:
    """The distribution that brought a plugin, as "name version"; "unknown" where it is gone."""
    point = _found(group).get(name)
    distribution = point.dist if point else None
    return f"{distribution.name} {distribution.version}" if distribution else "unknown"


@cache  # reading every distribution's metadata takes longer than training a small head
def _found(group: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def forget() -> None:
    """Look again which plugins are installed, when one is next asked for."""
    importlib.invalidate_caches()
    _found.cache_clear()


def _load(group: str, kind: str, name: str, options: Mapping[str, Value]) -> Any:
    found = _found(group)
    if name not in found:
        raise NotFoundError.among(kind, name, found, LISTED[group])
    try:
        plugin = found[name].load()(**options)
    except (Exception, SystemExit) as error:
        raise _broken(group, name, f"{type(error).__name__}: {error}") from error
    api = getattr(plugin, "api", None)
    if api != API:
        raise _broken(group, name, f"it is written for api = {api!r}, this orch has api = {API}")
    return plugin


def _broken(group: str, name: str, why: str) -> PluginError:
    return PluginError(
        f"the plugin {name!r} of {version(group, name)} cannot be used: {why}",
        "nothing was started; update or remove that distribution",
    )
