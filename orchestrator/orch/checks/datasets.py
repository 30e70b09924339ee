"""What every dataset plugin promises."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orch import catalog, registry, search_space, space
from orch.checks import TINY_BACKBONE, Check, Fault, imports, silent
from orch.contracts import API, Dataset, DatasetFacts, FileReader, Problem, Recipe, Split
from orch.errors import DataError, OrchError, first_line
from orch.home import Home

SPLITS = ("train", "validation", "test")
LOOKED_AT = 8  # examples of each split whose pixels are looked at one by one
COMPARED = 20_000  # examples of each split that are compared with those of the others
TICK = 1.05  # seconds: a clock that is written to a file has moved on
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")


@dataclass(frozen=True)
class DatasetSubject(imports.Imported):
    """A dataset plugin to check.

    `there` is a folder that its `install` has filled. Otherwise it is installed into `scratch`, an
    empty folder, from `source` or where it is embedded, or taken as `home` has it; without any of
    these, what needs content cannot be checked.
    """

    there: Path | None = None
    source: Path | None = None
    scratch: Path | None = None
    home: Home | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The plugin, with its default options."""
        return registry.load_dataset(self.plugin.name)

    @property
    def facts(self) -> DatasetFacts:
        """What it says of itself."""
        return self.dataset.facts

    @property
    def can_be_made(self) -> bool:
        """Whether it can be installed here and now."""
        return self.scratch is not None and (self.source is not None or self.facts.embedded)

    @cached_property
    def present(self) -> Path | None:
        """The folder of content that is there already."""
        if self.there or self.can_be_made or self.home is None:
            return self.there
        found = catalog.find(self.home, self.plugin.name)
        return catalog.content(self.home, found) if found else None

    @cached_property
    def folder(self) -> Path:
        """The folder of its content, which is installed if it is not there."""
        return self.present or self.install("first")

    @cached_property
    def splits(self) -> Mapping[str, Split]:
        """What it serves."""
        return self.dataset.open(self.folder)

    def install(self, name: str) -> Path:
        """Install it into a new folder in `scratch`."""
        if self.scratch is None:
            raise ValueError("there is no folder to install it in")
        folder = self.scratch / name
        folder.mkdir(parents=True)
        self.dataset.install(folder, self.source, silent)
        return folder

    def lacks(self, check: Check[Any]) -> str:
        """Why a check cannot be run on this subject, and what to type; "" where it can."""
        name = self.plugin.name
        if check.needs == "content" and not self.can_be_made and not self.present:
            return (
                f"its data is not here: orch plugins check {name} --from PATH, "
                f"or orch datasets add {name} before"
            )
        if check.needs == "install" and not self.can_be_made:
            return f"it takes what it is made from: orch plugins check {name} --from PATH"
        return ""


# ── without content ─────────────────────────────────────────────────────────────────────────


def api(subject: DatasetSubject) -> None:
    """It says the supported `api` and has what the protocol asks for."""
    if subject.dataset.api != API:
        raise Fault(registry.other_api(subject.dataset.api))


def name(subject: DatasetSubject) -> None:
    """Its facts carry the entry point's name."""
    facts = subject.facts
    if type(facts) is not DatasetFacts:
        raise Fault(f"facts is {type(facts).__name__}, not DatasetFacts")
    if facts.name != subject.plugin.name:
        raise Fault(f"facts.name is {facts.name!r}, its entry point says {subject.plugin.name!r}")


def facts(subject: DatasetSubject) -> None:
    """Title, licence, homepage, at least two different classes, sizes, and a checked source."""
    said = subject.facts
    for label in ("title", "licence"):
        if not getattr(said, label):
            raise Fault(f"facts.{label} is empty")
    if not said.homepage.startswith("https://"):
        raise Fault(f"facts.homepage is {said.homepage!r}, which does not begin with https://")
    if len(said.classes) < 2:
        raise Fault(f"facts.classes has {len(said.classes)} of the 2 classes that it takes")
    if twice := _twice(said.classes):
        raise Fault(f"facts.classes has {twice!r} twice")
    if len(said.image_size) != 2 or not all(type(s) is int and s > 0 for s in said.image_size):
        raise Fault(f"facts.image_size is {said.image_size}, not (height, width) in pixels")
    if said.upsample < 1 or said.version < 1:
        raise Fault("facts.upsample and facts.version are whole numbers from 1")
    source = said.source
    if source is not None and (not _CHECKSUM.fullmatch(source.checksum) or source.bytes < 1):
        raise Fault(f"facts.source has checksum {source.checksum!r} of {source.bytes} bytes")


def options(subject: DatasetSubject) -> None:
    """Names differ, defaults are allowed, each has one line of help and builds the plugin."""
    known = [option.name for option in subject.facts.options]
    if twice := _twice(known):
        raise Fault(f"facts.options has {twice!r} twice")
    for option in subject.facts.options:
        if not space.contains(option.allowed, option.default):
            allowed = space.render(option.allowed)
            raise Fault(
                f"the option {option.name!r} has default {option.default!r}, allowed is {allowed}"
            )
        if not option.help or "\n" in option.help:
            raise Fault(f"the option {option.name!r} has no help of one line")
        if unknown := sorted(option.only_with.keys() - set(known)):
            raise Fault(f"the option {option.name!r} goes with {unknown[0]!r}, which is no option")
        registry.load_dataset(subject.plugin.name, {option.name: option.default})


def recipes(subject: DatasetSubject) -> None:
    """Each recipe's parameters are those of its strategy, its options those of the dataset."""
    if twice := _twice(recipe.name for recipe in subject.facts.recipes):
        raise Fault(f"facts.recipes has {twice!r} twice")
    known = {option.name: option for option in subject.facts.options}
    for recipe in subject.facts.recipes:
        try:
            _check_params(recipe, subject.facts)
        except OrchError as error:
            raise Fault(f"recipe {recipe.name!r}: {error.message}") from error
        for option, value in recipe.options.items():
            if option not in known or not space.contains(known[option].allowed, value):
                raise Fault(f"recipe {recipe.name!r}: the dataset has no option {option}={value!r}")


def _check_params(recipe: Recipe, said: DatasetFacts) -> None:
    strategy = registry.load_strategy(recipe.strategy)
    problem = Problem(said, replace(TINY_BACKBONE, name=recipe.backbone), 1000)
    offered = strategy.parameters(problem)
    params = dict(recipe.params)
    if search_space.FROZEN in params:  # a count of the real backbone's layers
        params[search_space.FROZEN] = len(TINY_BACKBONE.layers)
    search_space.check_recipe(replace(recipe, params=params), offered)


def broken_file(subject: DatasetSubject, folder: Path | None = None) -> None:
    """Where the dataset reads files, one that is broken or absent is a DataError naming it."""
    place = folder or subject.scratch
    if not isinstance(subject.dataset, FileReader) or place is None:
        return
    for path in (place / "broken.jpg", place / "broken.wav", place / "absent.png"):
        if path.stem == "broken":
            path.write_text("neither picture nor sound")
        _check_refused(subject.dataset, path)


def _check_refused(dataset: FileReader, path: Path) -> None:
    try:
        dataset.read(path)
    except DataError as error:
        if path.name not in error.message:
            raise Fault(f"read() of {path.name} does not name it: {error.message}") from error
        return
    except Exception as error:
        raised = f"{type(error).__name__}: {first_line(error)}"
        raise Fault(f"read() of {path.name} raised {raised}, not a DataError") from error
    raise Fault(f"read() takes {path.name}, which holds no example, for one")


# ── with content ────────────────────────────────────────────────────────────────────────────


def serves(subject: DatasetSubject) -> None:
    """It can be installed and opened, and serves "train"."""
    if "train" not in subject.splits:
        raise Fault(f"open() serves {', '.join(subject.splits) or 'nothing'}, and no 'train'")
    if unknown := sorted(subject.splits.keys() - set(SPLITS)):
        raise Fault(f"open() serves {unknown[0]!r}, splits are {', '.join(SPLITS)}")


def labels(subject: DatasetSubject) -> None:
    """Labels are int64 (n,), each a class index."""
    classes = len(subject.facts.classes)
    for where, split in subject.splits.items():
        found = np.asarray(split.labels)
        if found.dtype != np.int64:
            raise Fault(f"{where}: labels are {found.dtype}, not int64")
        if found.ndim != 1 or not len(found):
            raise Fault(f"{where}: labels have the shape {found.shape}, not (n,)")
        wrong = np.flatnonzero((found < 0) | (found >= classes))
        if len(wrong):
            at = int(wrong[0])
            raise Fault(
                f"{where}[{at}]: label {found[at]} is no class index from 0 to {classes - 1}"
            )


def every_class(subject: DatasetSubject) -> None:
    """Every class has a training example."""
    trained = set(np.asarray(subject.splits["train"].labels).tolist())
    for index, label in enumerate(subject.facts.classes):
        if index not in trained:
            raise Fault(f"train: no example is of the class {label!r}")


def images(subject: DatasetSubject) -> None:
    """The first, the last and some examples of each split are uint8 (height, width, 3)."""
    for where, split in subject.splits.items():
        for index in _spread(len(split.labels), LOOKED_AT):
            image = _image(split, where, index)
            shape = getattr(image, "shape", None)
            if not isinstance(image, np.ndarray) or shape is None:
                given = type(image).__name__
            elif image.dtype == np.uint8 and len(shape) == 3 and shape[2] == 3 and image.size:
                continue
            else:
                given = f"{image.dtype} {shape}"
            raise Fault(f"{where}[{index}]: image() gave {given}, not uint8 (height, width, 3)")


def _image(split: Split, where: str, index: int) -> Any:
    """What the plugin gives for an example, whatever that is."""
    try:
        return split.image(index)
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise Fault(f"{where}[{index}]: image() raised {said}") from error


def apart(subject: DatasetSubject) -> None:
    """No example is in two splits; of a large split, COMPARED examples are looked at."""
    seen: dict[bytes, tuple[str, int]] = {}
    for where, split in subject.splits.items():
        mine = {_content(split, index): index for index in _spread(len(split.labels), COMPARED)}
        shared = [content for content in mine if content in seen]
        if shared:
            other, at = seen[shared[0]]
            raise Fault(
                f"{len(shared)} of {len(mine)} pictures of {where} are in {other} too, such as "
                f"{where}[{mine[shared[0]]}], which is {other}[{at}]: "
                "what is trained on cannot judge"
            )
        seen |= {content: (where, index) for content, index in mine.items()}


def order(subject: DatasetSubject) -> None:
    """Opened twice, it serves the same examples in the same order."""
    again = registry.load_dataset(subject.plugin.name).open(subject.folder)
    if set(again) != set(subject.splits):
        raise Fault(f"opened again, it serves {', '.join(again)}")
    for where, split in subject.splits.items():
        first, second = np.asarray(split.labels), np.asarray(again[where].labels)
        if not np.array_equal(first, second):
            raise Fault(f"{where}: opened again, the labels are others or in another order")
        for index in _spread(len(first), LOOKED_AT):
            if _content(split, index) != _content(again[where], index):
                raise Fault(f"{where}[{index}]: opened again, it is another picture")


def digest(subject: DatasetSubject) -> None:
    """Installed again, elsewhere and later, it writes the same content."""
    first = _files(subject.folder)
    newest = max((path.stat().st_mtime for path in first.values()), default=0.0)
    time.sleep(max(0.0, min(TICK, newest + TICK - time.time())))
    second = _files(subject.install("again"))
    if differing := sorted(first.keys() ^ second.keys()):
        raise Fault(f"installed twice, only one has the file {differing[0]}")
    for path, file in first.items():
        if _sha256(file) != _sha256(second[path]):
            raise Fault(f"installed twice, {path} has other content: no time, path or chance in it")


CHECKS: tuple[Check[DatasetSubject], ...] = (
    *imports.CHECKS,
    Check("api", f"it says api = {API} and has facts, install and open", api, "plugin", True),
    Check("name", "its facts carry the entry point's name", name, "plugin", True),
    Check("facts", "title, licence, homepage, classes and sizes are given", facts, "plugin"),
    Check("options", "each option can have its default", options, "plugin"),
    Check("recipes", "each recipe fits its strategy and the options", recipes, "plugin"),
    Check("broken-file", "a file that cannot be read is named", broken_file, "plugin"),
    Check("serves", "it can be installed and opened, and serves train", serves, "content", True),
    Check("labels", "labels are int64 (n,), each a class index", labels, "content", True),
    Check("every-class", "every class has a training example", every_class, "content"),
    Check("images", "examples are uint8 (height, width, 3)", images, "content", True),
    Check("apart", "no example is in two splits", apart, "content"),
    Check("order", "opened twice it serves the same, in the same order", order, "content"),
    Check("digest", "installed twice it writes the same content", digest, "install"),
)


def _twice(names: Iterable[str]) -> str:
    found = list(names)
    return next((each for each in found if found.count(each) > 1), "")


def _spread(count: int, most: int) -> list[int]:
    """At most so many indices, evenly spread: the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _content(split: Split, index: int) -> bytes:
    image = np.ascontiguousarray(split.image(index))
    return hashlib.sha256(f"{image.shape}{image.dtype}".encode() + image.tobytes()).digest()


def _files(folder: Path) -> dict[str, Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
