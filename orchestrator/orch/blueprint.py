"""What a plan is made of: input, augmentation, head, optimizer, schedule, stages.

Plain data, compared by value, but for what a strategy adds of its own: `Layers` and `Rate` name
functions. All of it is part of `orch.contracts`, from where plugins import it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from orch.space import Value

# ── a strategy's own ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class Own:
    """A function of a strategy's own, and the arguments it is called with, by name.

    The function is called where training happens, in another process than the one that planned
    it, so it must be found by name: a function, class or static method of an importable module,
    no lambda and nothing defined inside another function. Two are equal where they call the same
    function with the same arguments; what is recorded of one tells the source of its file too. The
    name of the strategy, which errors give, is filled in by orch.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Value] = field(default_factory=dict[str, Value])
    strategy: str = ""

    @property
    def name(self) -> str:
        """The module and the name of the function in it, as "module:name"."""
        module = getattr(self.function, "__module__", "?")
        return f"{module}:{getattr(self.function, '__qualname__', repr(self.function))}"

    @property
    def source(self) -> str:
        """The beginning of the SHA-256 of the file the function stands in; "" where it has none."""
        return source_of(self.function)

    def __str__(self) -> str:
        stated = ", ".join(f"{name}={value!r}" for name, value in sorted(self.arguments.items()))
        return f"{self.name}({stated})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Own) or type(other) is not type(self):
            return NotImplemented
        return self.function is other.function and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class Layers(Own):
    """Keras layers of a strategy's own: `function(**arguments)` returns them as a list.

    They are called one after another, each on what the one before it returned. The list must be
    made anew by every call, with the same layers each time. Keras is imported inside the function
    (or the module is imported there), so that planning does not import it.
    """


class Rate(Own):
    """A learning rate of a strategy's own: `function(epoch, rate, **arguments)` returns it.

    `epoch` counts from 0 within the stage, `rate` is the rate of the stage's optimizer. What is
    returned must be finite and above 0, and the same whenever it is asked for. It is called while
    planning too, for every epoch.
    """


def source_of(named: Any) -> str:
    """The beginning of the SHA-256 of the file that a function or class stands in, if any."""
    module = sys.modules.get(getattr(named, "__module__", ""))
    return _digest(getattr(module, "__file__", None) or "")


@cache  # what a process runs is what the file held when it was imported
def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


# ── the parts of a plan ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ImageInput:
    """Examples are resized to `size` (height, width), then enlarged `upsample` times."""

    size: tuple[int, int]
    upsample: int = 1


@dataclass(frozen=True)
class Augmentation:
    """How training examples are changed at random, anew in every epoch; 0 changes nothing.

    `zoom` scales by a factor from 1 - zoom to 1 + zoom; `rotation` is in degrees to either
    side; `shift` and `shear` are fractions of the side, horizontally and vertically; `flip`
    mirrors half of the examples left to right. What comes in from outside the picture is its
    nearest pixel.

    `layers` are called after all these, in training only, on float32 images (n, height, width,
    3) in [0, 255]; they return images of the same shape and hold no weights. They are taken to be
    random, so nothing behind them is computed only once.
    """

    zoom: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    flip: bool = False
    layers: Layers | None = None


@dataclass(frozen=True)
class Dense:
    """A dense relu layer of the head, and the fraction of its units dropped in training."""

    units: int
    dropout: float = 0.0


@dataclass(frozen=True)
class Head:
    """What stands on the backbone: pooling, dropout, dense layers, class probabilities.

    `layers` take the place of `dropout` and `dense`: they are called on the pooled features
    (n, d), or with pooling "none" on the last feature map (n, height, width, channels), and end
    as (n, units). The dense layer with one output for each class stands on them.

    `dropout` is the fraction of pooled features dropped in training. `output` "sigmoid" is one
    unit for two classes. `start` says how the last layer's weights begin: at zero, so that the
    first steps do not pass noise down into the backbone (Kolesnikov et al., "Big Transfer",
    2020), or random, as Keras does (Glorot and Bengio, 2010).
    """

    pooling: Literal["average", "max", "flatten", "none"] = "average"
    dense: tuple[Dense, ...] = ()
    dropout: float = 0.0
    output: Literal["softmax", "sigmoid"] = "softmax"
    start: Literal["zeros", "random"] = "zeros"
    layers: Layers | None = None


@dataclass(frozen=True)
class Optimizer:
    """A Keras optimizer: "adam", "adamw", "sgd" or "rmsprop".

    `momentum` is read by sgd and rmsprop; `weight_decay` is decoupled (Loshchilov and Hutter,
    2019) and 0 means none.
    """

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes from epoch to epoch of a stage; epochs count from 0.

    - "constant": rate
    - "inverse-time": rate / (1 + factor × epoch)
    - "exponential": rate × factor ** epoch
    - "cosine": from rate towards `minimum`, which the epoch after the last would have, along
      half a cosine (Loshchilov and Hutter, 2017)
    - "plateau": × factor after `patience` epochs in which the objective did not improve, but
      not below `minimum`
    - "own": what `rate` says
    """

    kind: Literal["constant", "inverse-time", "exponential", "cosine", "plateau", "own"] = (
        "constant"
    )
    factor: float = 0.0
    patience: int = 0
    minimum: float = 0.0
    rate: Rate | None = None


@dataclass(frozen=True)
class Stage:
    """A stretch of training in which the same layers are frozen.

    A stage goes on from the weights of the one before it. After `patience` epochs in which the
    objective did not improve it ends early; None never does. With `restore_best` it leaves the
    weights of its best epoch, not of its last.
    """

    frozen_layers: int
    optimizer: Optimizer
    epochs: int
    batch_size: int
    schedule: Schedule = Schedule()
    patience: int | None = None
    restore_best: bool = True


@dataclass(frozen=True)
class Plan:
    """Everything that decides how a trial trains, as data.

    A strategy's own layers and rates are in it as names of functions and their arguments.
    """

    image: ImageInput
    head: Head
    stages: tuple[Stage, ...]
    augmentation: Augmentation = Augmentation()
