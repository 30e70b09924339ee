"""The nouns of orch and the three protocols that plugins implement.

A **dataset** plugin can fetch, verify and serve labelled examples in named splits:

    class Birds:
        api = 1
        facts = DatasetFacts(name="birds", title="Garden birds", classes=("robin", "wren"), ...)

        def install(self, folder, source, progress): ...   # put the content under `folder`
        def open(self, folder): ...                        # {"train": Split, "test": Split}

A **strategy** plugin names its parameters and turns values for them into a **plan**:

    class Probe:
        api = 1
        facts = StrategyFacts(name="probe", title="Train a linear head")

        def parameters(self, problem): ...                 # what can be searched, and its range
        def plan(self, params, problem): ...               # a Plan: data, not code that trains

A **backbone** plugin builds a network without classifier, whose weights orch keeps:

    class TinyNet:
        api = 1
        facts = NetworkFacts(name="tinynet", title="A tiny network", image_size=64, ...)

        def build(self, size): ...                         # a functional keras.Model
        def preprocess(self, images): ...                  # pixels as the network wants them

All are found by entry point (`orch.datasets`, `orch.strategies`, `orch.backbones`). This module
imports NumPy for its types alone and nothing of ours but `orch.blueprint` and `orch.space`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from orch.blueprint import Augmentation as Augmentation
from orch.blueprint import Dense as Dense
from orch.blueprint import Head as Head
from orch.blueprint import ImageInput as ImageInput
from orch.blueprint import Layers as Layers
from orch.blueprint import Optimizer as Optimizer
from orch.blueprint import Own as Own
from orch.blueprint import Plan as Plan
from orch.blueprint import Rate as Rate
from orch.blueprint import Schedule as Schedule
from orch.blueprint import Stage as Stage
from orch.space import Choice as Choice
from orch.space import Domain as Domain
from orch.space import Fixed as Fixed
from orch.space import Int as Int
from orch.space import Log as Log
from orch.space import Uniform as Uniform
from orch.space import Value as Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

API = 1
"""The version of these protocols; a plugin says `api = 1`."""


# ── datasets ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Source:
    """Where a dataset is published: one file, its size in bytes, and its checksum.

    The checksum is the publisher's own, "sha256:<hex>" or, where there is no better one,
    "md5:<hex>".
    """

    url: str
    checksum: str
    bytes: int


@dataclass(frozen=True)
class Option:
    """A choice that a dataset leaves to its user, such as how it is split.

    The dataset's class takes every option by name when it is built; the values in use are part
    of the dataset's digest, so that results with different ones are never compared.
    `only_with` names the values of other options without which this one has no effect.
    """

    name: str
    default: Value
    allowed: Domain
    help: str
    only_with: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True)
class Recipe:
    """A published result on a dataset: what was trained, and what its author reports.

    `name` is unique within the dataset; `params` are parameters of `strategy` and `options`
    those of the dataset, the rest keeps its default. `reported` is the author's figure in
    words, `accuracy` the best validation accuracy in it, `train_examples` how many examples it
    was trained on.
    """

    name: str
    title: str
    strategy: str
    params: Mapping[str, Value]
    reported: str
    accuracy: float | None
    train_examples: int
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    backbone: str = "vgg16"


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset before it is there.

    `image_size` is the (height, width) in pixels that examples are resized to; `upsample` is
    the whole factor by which the network enlarges them again (nearest neighbour), which costs
    no memory. `embedded` says that `install` needs neither network nor `--from`. A sweep
    starts from the first of the `recipes` that uses its strategy. `version` is raised when
    what is served for the same content changes: it is part of the digest.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    licence: str
    homepage: str
    upsample: int = 1
    backbone: str = "vgg16"
    source: Source | None = None
    embedded: bool = False
    citation: str = ""
    options: tuple[Option, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    version: int = 1


class Progress(Protocol):
    """Receives how far a long step has come; `total` is None while it is not known."""

    def __call__(self, step: str, done: int, total: int | None) -> None:
        """Say that `done` of `total` units of `step` are done."""
        ...


class Split(Protocol):
    """Labelled examples in a fixed order."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class index of every example, int64 (n,), 0 ≤ label < number of classes."""
        ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """One example, uint8 (height, width, 3), RGB; any size.

        Raises:
            DataError: the example cannot be decoded; the message names its file.
        """
        ...


@runtime_checkable
class FileBacked(Protocol):
    """What a split adds to `Split` where each of its examples is one file.

    A file is named where something is to be said about its example. Files may be decoded in
    several threads at once: `image` must stand that.
    """

    @property
    def paths(self) -> Sequence[Path]:
        """The file of every example, in the order of `labels`."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """Fetches, verifies and serves labelled examples; as `facts` an attribute will do."""

    api: int

    @property
    def facts(self) -> DatasetFacts:
        """What is known of it before it is there."""
        ...

    def install(self, folder: Path, source: Path | None, progress: Progress) -> None:
        """Put the content under `folder`, which exists and is empty.

        `source` is an archive or folder that the user has; None means: fetch it, or make it.
        What is written must depend on the content alone: its digest is the dataset's identity.

        Raises:
            DataError: the source is damaged, incomplete or in no layout that is known.
        """
        ...

    def open(self, folder: Path) -> Mapping[str, Split]:
        """Serve what `install` wrote: "train" always, "validation" and "test" where they exist."""
        ...


@runtime_checkable
class FileReader(Protocol):
    """What a dataset adds to `Dataset` so that `orch predict` can read files of its kind."""

    def read(self, path: Path) -> NDArray[np.uint8]:
        """One unseen file as an example, uint8 (height, width, 3), as `Split.image` gives it.

        Raises:
            DataError: the file cannot be read; the message names it.
        """
        ...


# ── backbones ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LayerFacts:
    """One layer of a backbone: its Keras name and class, and how many weights it holds.

    `random` says that it draws random numbers in training, as dropout does, frozen or not.
    """

    name: str
    kind: str
    parameters: int
    random: bool = False


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a pretrained network without loading it.

    `cuts` are the canonical values of `frozen_layers`: one for each distinct set of frozen
    weights that ends where a single tensor separates input from output, ascending, 0 first and
    "all" last. `stages` are those of them after which the image shrinks: what a search tries.
    """

    name: str
    image_size: int
    minimum_size: int
    layers: tuple[LayerFacts, ...]
    cuts: tuple[int, ...]
    stages: tuple[int, ...]

    def canonical(self, frozen_layers: int) -> int:
        """The one count that stands for all counts which freeze the same weights.

        It is the largest of them (`vgg.layers[:15]` freezes what `[:14]` does), or 0 where
        nothing is frozen.
        """
        if not any(layer.parameters for layer in self.layers[:frozen_layers]):
            return 0
        count = frozen_layers
        while count < len(self.layers) and not self.layers[count].parameters:
            count += 1
        return count


@dataclass(frozen=True)
class Shipped:
    """Weights that come with a plugin: the file, and the digest of the arrays in it.

    The file is as `orch backbones add NAME --from FILE` takes it, and the digest is what that
    command prints.
    """

    file: Path
    digest: str


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a backbone plugin's network before it is built.

    `image_size` is the side in pixels of the images that the weights were trained on,
    `minimum_size` the least that the network takes. Weights come with the plugin (`shipped`),
    from where they are published (`source`), or from the user's `--from FILE`. `version` is
    raised when the network or its preprocessing changes while its weights stay: it is part of
    the digest, so that features and results of both are kept apart.
    """

    name: str
    title: str
    licence: str
    homepage: str
    image_size: int
    minimum_size: int = 32
    source: Source | None = None
    shipped: Shipped | None = None
    version: int = 1


@runtime_checkable
class Backbone(Protocol):
    """Builds a network without classifier, and says what its images look like."""

    api: int
    facts: NetworkFacts

    def build(self, size: tuple[int, int]) -> Any:
        """A functional `keras.Model` for images of `size` (height, width) pixels.

        One input, float32 (n, height, width, 3) as `preprocess` returns it; one output, float32
        (n, h, w, channels), which is that of its last layer; each layer is called once. Its
        weights have the same shapes at every size, and names of their own. What they are at
        first does not matter: orch fills them from the weight file, without unpickling anything.
        Keras is imported in here, so that listing backbones does not import it.
        """
        ...

    def preprocess(self, images: Any) -> Any:
        """Scale RGB images in [0, 255], float32 (n, height, width, 3), to what `build` expects.

        `images` is a Keras tensor, symbolic or not; what is done becomes part of the graph. Use
        arithmetic, `keras.ops` or layers without weights; the shape stays, nothing is random.
        """
        ...


@runtime_checkable
class PublishedWeights(Protocol):
    """What a backbone adds to `Backbone` where its toolkit fetches and checks the weights."""

    def published(self, size: tuple[int, int]) -> Any:
        """As `build`, with the published weights. Raises whatever its toolkit raises."""
        ...


# ── strategies ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Problem:
    """What a strategy may know when it plans: the dataset, the backbone, the examples."""

    dataset: DatasetFacts
    backbone: BackboneFacts
    train_examples: int


@dataclass(frozen=True)
class Parameter:
    """One knob: what a sweep searches unless told otherwise, its default, what is allowed."""

    name: str
    search: Domain
    default: Value
    allowed: Domain
    help: str


@dataclass(frozen=True)
class StrategyFacts:
    """What a strategy is called and what it does, in one line."""

    name: str
    title: str


@runtime_checkable
class Strategy(Protocol):
    """Turns parameters into a plan."""

    api: int
    facts: StrategyFacts

    def parameters(self, problem: Problem) -> tuple[Parameter, ...]:
        """What can be searched or fixed; together the defaults are the first trial."""
        ...

    def plan(self, params: Mapping[str, Value], problem: Problem) -> Plan:
        """The plan for these values; every parameter has one."""
        ...
