"""Words that stand as NAME=TEXT: `-S` for the search space, `-D` for a dataset's options."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.errors import UsageError

Space = Annotated[
    list[str] | None,
    typer.Option(
        "-S",
        metavar="NAME=SPACE",
        help="Search or fix a parameter: log(a,b), uniform(a,b), int(a,b), choice(a,b), a value.",
    ),
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("-D", metavar="NAME=VALUE", help="Choose an option of the dataset."),
]
Split = Annotated[
    str | None, typer.Option(help="How to split, where the dataset lets you choose: -D split=…")
]

RayAddress = Annotated[str | None, typer.Option(help="Join a running Ray cluster.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 9 if a trial failed.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave it to orch serve.")]
Concurrent = Annotated[int | None, typer.Option(help="Trials at once.")]
HangTimeout = Annotated[
    str | None, typer.Option(help="End a trial that makes no progress for so long: 10m.")
]
TrialTimeout = Annotated[str | None, typer.Option(help="End a trial that takes longer: 2h.")]
MostFailures = Annotated[
    int | None, typer.Option(help="Stop the sweep when so many trials in a row fail.")
]


def seconds(option: str, text: str | None) -> float | None:
    """Read a duration such as 10m.

    Raises:
        UsageError: it is none.
    """
    from orch.planning.spec import parse_duration

    return None if text is None else parse_duration(text, option)


def read(chosen: list[str] | None, split: str | None) -> dict[str, str]:
    """The options of the dataset that were given.

    Raises:
        UsageError: as `pairs`.
    """
    short = [f"split={split}"] if split is not None else []
    return pairs("-D", [*(chosen or []), *short], "split=random")


def pairs(flag: str, items: list[str], example: str) -> dict[str, str]:
    """Read what was given as NAME=TEXT.

    Raises:
        UsageError: one has no value, or a name is given twice.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not equals:
            raise UsageError(f"{flag} {item} says no value", f"write {flag} {example}")
        if name in found:
            raise UsageError(f"{flag} {name} is given twice", "give each parameter once")
        found[name] = text
    return found
