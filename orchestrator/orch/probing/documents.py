"""Facts of plugins as JSON documents, and back: nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orch import registry
from orch.contracts import (
    DatasetFacts,
    NetworkFacts,
    Option,
    Recipe,
    Shipped,
    Source,
    StrategyFacts,
)
from orch.space import Choice, Domain, Fixed, Int, Log, Uniform

Facts = DatasetFacts | StrategyFacts | NetworkFacts
_DOMAINS: Mapping[str, Callable[..., Domain]] = {
    each.__name__: each for each in (Log, Uniform, Int, Choice, Fixed)
}


def encode(facts: Facts) -> dict[str, Any]:
    """Facts as a document.

    Raises:
        TypeError, AttributeError: they hold what the contract does not have there.
    """
    document = asdict(facts)
    if isinstance(facts, DatasetFacts):
        for option, written in zip(facts.options, document["options"], strict=True):
            written["allowed"] = [type(option.allowed).__name__, written["allowed"]]
    if isinstance(facts, NetworkFacts) and facts.shipped:
        document["shipped"]["file"] = str(facts.shipped.file)
    return document


def decode_dataset(document: Mapping[str, Any]) -> DatasetFacts:
    """The facts of a dataset out of their document.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    values = dict(document)
    source = values["source"]
    values["source"] = None if source is None else Source(**source)
    values["classes"] = _texts(values["classes"])
    height, width = values["image_size"]
    values["image_size"] = (int(height), int(width))
    values["options"] = tuple(_option(each) for each in values["options"])
    values["recipes"] = tuple(_recipe(each) for each in values["recipes"])
    _texts([values["name"], values["title"]])
    return DatasetFacts(**values)


def decode_strategy(document: Mapping[str, Any]) -> StrategyFacts:
    """The facts of a strategy out of their document.

    Raises:
        TypeError, KeyError: it is none.
    """
    _texts([document["name"], document["title"]])
    return StrategyFacts(**document)


def decode_backbone(document: Mapping[str, Any]) -> NetworkFacts:
    """The facts of a backbone out of their document.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    values = dict(document)
    source, shipped = values["source"], values["shipped"]
    values["source"] = None if source is None else Source(**source)
    if shipped is not None:
        values["shipped"] = Shipped(Path(shipped["file"]), shipped["digest"])
    for name in ("image_size", "minimum_size", "version"):
        if type(values[name]) is not int:
            raise TypeError(f"{name} is {values[name]!r}, which is no whole number")
    _texts([values["name"], values["title"], values["licence"], values["homepage"]])
    return NetworkFacts(**values)


def _texts(values: Any) -> tuple[str, ...]:
    found = tuple(values)
    if isinstance(values, str) or not all(isinstance(each, str) for each in found):
        raise TypeError(f"{values!r} is not text where text is needed")
    return found


def _option(document: Mapping[str, Any]) -> Option:
    kind, bounds = document["allowed"]
    values = {name: tuple(v) if name == "values" else v for name, v in bounds.items()}
    fields: dict[str, Any] = {**document, "allowed": _DOMAINS[kind](**values)}
    return Option(**fields)


def _recipe(document: Mapping[str, Any]) -> Recipe:
    found = Recipe(**document)
    _texts([found.name, found.title, found.strategy, found.reported, found.backbone])
    return found


UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)
"""What is raised by documents, and facts, that are not as the contract has them."""

DECODE: Mapping[str, Callable[[Mapping[str, Any]], Facts]] = {
    registry.DATASETS: decode_dataset,
    registry.STRATEGIES: decode_strategy,
    registry.BACKBONES: decode_backbone,
}
