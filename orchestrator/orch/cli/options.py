"""Words that stand as NAME=TEXT: `-S` for the search space, `-D` for a dataset's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orch.errors import UsageError
from orch.settings import Pruner, Sampler

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

Strategy = Annotated[str | None, typer.Option(help="How to train.")]
Backbone = Annotated[str | None, typer.Option(help="Pretrained network to start from.")]
Trials = Annotated[int | None, typer.Option(help="How many configurations to try.")]
Time = Annotated[str | None, typer.Option(help="Stop after 2h, 90m, 45s.")]
Limit = Annotated[int | None, typer.Option(help="Use so many examples, a share of each class.")]
Metric = Annotated[str | None, typer.Option(help="What to rank by: val_accuracy, …")]
SamplerName = Annotated[Sampler | None, typer.Option(help="How trials are chosen.")]
PrunerName = Annotated[Pruner | None, typer.Option(help="How trials are stopped early.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same suggestions.")]
Keep = Annotated[int | None, typer.Option(help="Keep the weights of so many trials.")]
GpusPerTrial = Annotated[float | None, typer.Option(help="GPUs of each, e.g. 0.5.")]
CpusPerTrial = Annotated[int | None, typer.Option(help="CPU cores of each.")]
Priority = Annotated[
    int, typer.Option(help="In the queue: higher runs first.", min=-1000, max=1000)
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


# Words of a sweep that are what was typed.
PLAIN = (
    *("dataset", "strategy", "backbone", "limit", "metric", "trials", "sampler", "pruner", "seed"),
    *("keep", "concurrent", "gpus_per_trial", "cpus_per_trial", "max_failures_in_a_row", "strict"),
)


def said(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a sweep out of a command's flags, but for its name; None where none was given.

    Raises:
        UsageError: a duration or a pair that cannot be read.
    """
    return {
        **{name: flags.get(name) for name in PLAIN},
        "seconds": seconds("--time", flags["time"]),
        "hang_timeout": seconds("--hang-timeout", flags["hang_timeout"]),
        "trial_timeout": seconds("--trial-timeout", flags["trial_timeout"]),
        "space": pairs("-S", flags["space"] or [], "learning_rate='log(1e-5,1e-2)'"),
        "options": read(flags["chosen"], flags["split"]),
    }


def require_for_service(**flags: object) -> None:
    """Refuse options of a sweep that this terminal runs, where it is left to the service.

    Raises:
        UsageError: one was given.
    """
    for name, value in flags.items():
        if value not in (None, False):
            raise UsageError(
                f"--{name.replace('_', '-')} is for a sweep that runs in this terminal, and this "
                "one is left to the service; nothing was changed",
                "leave it out, or go without --detach and ORCH_URL",
            )


def require_no_priority(priority: int) -> None:
    """Refuse a place in the queue for a sweep that is not queued.

    Raises:
        UsageError: one was given.
    """
    if priority:
        raise UsageError(
            f"--priority {priority} is a place in the queue, and this sweep runs at once; "
            "nothing was changed",
            f"--priority {priority} --detach",
        )


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
