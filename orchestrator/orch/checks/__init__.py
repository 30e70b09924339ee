"""What plugins promise, as plain functions: each raises a `Fault` where a promise is broken.

`orch plugins check` runs them against an installed plugin, `orch.testing` as tests of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from orch.contracts import BackboneFacts, LayerFacts
from orch.errors import OrchError, PluginError, first_line
from orch.registry import BlockedError

S = TypeVar("S")
Needs = Literal["import", "plugin", "content", "install"]
Outcome = Literal["ok", "fault", "not run"]

TINY_BACKBONE = BackboneFacts(
    name="tiny",
    image_size=32,
    minimum_size=32,
    layers=(
        LayerFacts("input", "InputLayer", 0),
        LayerFacts("conv1", "Conv2D", 448),
        LayerFacts("pool1", "MaxPooling2D", 0),
        LayerFacts("conv2", "Conv2D", 4640),
        LayerFacts("pool2", "MaxPooling2D", 0),
    ),
    cuts=(0, 3, 5),
    stages=(0, 3, 5),
)


class Fault(PluginError):
    """A promise is broken; the message says what is wrong and where."""


@dataclass(frozen=True)
class Check(Generic[S]):
    """One promise: its name, a sentence, and what raises a `Fault` where it is broken.

    `needs` is what must be there: "import" nothing but the module, "plugin" the plugin itself,
    "content" what a dataset serves, "install" that it can be installed anew. Where a `gate` has
    a fault, what comes after it is not run.
    """

    name: str
    promise: str
    run: Callable[[S], None]
    needs: Needs
    gate: bool = False


@dataclass(frozen=True)
class Result:
    """How a check ended; `why` is the fault, or why the check was not run."""

    check: str
    promise: str
    outcome: Outcome
    why: str = ""


def run(
    checks: Iterable[Check[S]],
    subject: S,
    barred: Callable[[Check[S]], str],
    file: Path | None = None,
) -> Iterator[tuple[Check[S], Result | None]]:
    """Run checks in their order: yields each as it begins, without a result, and as it ends.

    `barred` says why a check cannot be run on this subject; "" where it can. `file` is that of
    the plugin: what is raised in it, or beside it, is said with its line.
    """
    stopped = ""
    for check in checks:
        yield check, None
        why = stopped or barred(check)
        if why:
            yield check, Result(check.name, check.promise, "not run", why)
            continue
        fault = _fault(check, subject, file)
        yield check, Result(check.name, check.promise, "fault" if fault else "ok", fault)
        if fault and check.gate:
            stopped = f"{check.name} has a fault"


def _fault(check: Check[S], subject: S, file: Path | None) -> str:
    try:
        check.run(subject)
    except BlockedError as error:
        return f"{error.why}{_where(error.__cause__ or error, file)}"
    except OrchError as error:
        return f"{error.message}{_where(error.__cause__ or error, file)}"
    except (Exception, SystemExit) as error:
        return f"it raised {type(error).__name__}: {first_line(error)}{_where(error, file)}"
    return ""


def _where(error: BaseException, file: Path | None) -> str:
    """Where in the plugin an error arose: " (birds.py line 12)"; "" where it is not known."""
    if file is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    beside = [each for each in frames if Path(each.filename).parent == file.parent]
    own = [each for each in beside if Path(each.filename) == file] or beside
    return f" ({Path(own[-1].filename).name} line {own[-1].lineno})" if own else ""


def silent(step: str, done: int, total: int | None) -> None:
    """A progress that shows nothing."""
