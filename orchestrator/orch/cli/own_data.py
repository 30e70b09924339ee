"""Data of the user's own in `orch datasets`: the flags of `add`, and what is said of it."""

from __future__ import annotations

import re
import shlex
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.door import enter
from orch.errors import DataError, NotFoundError, UsageError

if TYPE_CHECKING:
    from orch.catalog import Installed
    from orch.home import Home
    from orch.kinds import LabelTable, OwnData

Called = Annotated[str | None, typer.Option("--name", help="What to call data of your own.")]
KindName = Annotated[
    str | None, typer.Option("--kind", help="Of your own files: images (the default) or audio.")
]
Labels = Annotated[
    Path | None, typer.Option(help="A CSV or Parquet table of your files and their classes.")
]
PathColumn = Annotated[str | None, typer.Option(help="Its column of paths, below the folder.")]
LabelColumn = Annotated[str | None, typer.Option(help="Its column of classes.")]
SplitColumn = Annotated[str | None, typer.Option(help="Its column of train, validation, test.")]
ImageSize = Annotated[
    str | None, typer.Option(help="Resize your own files to 160, or 128x192 (height x width).")
]
Link = Annotated[bool, typer.Option("--link", help="Leave your files where they are.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out files of yours that do not decode.")
]
SIZES = range(32, 1025)
SHOWN = 5


@dataclass(frozen=True)
class Flags:
    """What `add` was told of the user's own files."""

    kind: str | None = None
    labels: Path | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    image_size: str | None = None
    link: bool = False
    skip_broken: bool = False

    def refuse(self, name: str) -> None:
        """Say that none of these is for a dataset that has its own rules, or is there already.

        Raises:
            UsageError: one was given.
        """
        from orch import catalog

        if not any(astuple(self)):
            return
        _, home = enter()
        if name in catalog.own_names(home):
            there = catalog.find(home, name)
            source = shlex.quote(there.own.source) if there and there.own else "FOLDER"
            raise UsageError(
                f"{name} was added already, and keeps what was said of it then",
                f"orch datasets add {source} --name {name}, with the words it is to have now",
            )
        raise UsageError(
            f"{name} knows its own files: --kind, --labels, the columns, --image-size, --link "
            "and --skip-broken are for files of your own",
            f"orch datasets add FOLDER --name NAME, or: orch datasets add {name} --from PATH",
        )

    def table(self, inside: bool) -> LabelTable | None:
        """The table of labels; `inside` a library of datasets it is the library's own.

        Raises:
            UsageError: columns without a table.
        """
        from orch.kinds import LabelTable

        columns = (self.path_column, self.label_column, self.split_column)
        if self.labels is not None:
            return LabelTable(str(self.labels.absolute()), *columns)
        if inside and any(columns):
            return LabelTable("", *columns)
        if any(columns):
            raise UsageError("columns are those of a table", "name it: --labels labels.csv")
        return None

    def size(self) -> tuple[int, int] | None:
        """The (height, width) in pixels.

        Raises:
            UsageError: it is none, or out of range.
        """
        if self.image_size is None:
            return None
        sides = [int(side) for side in re.split("[x×]", self.image_size) if side.isdecimal()]
        if len(sides) not in (1, 2) or not all(side in SIZES for side in sides):
            raise UsageError(
                f"--image-size {self.image_size!r} is no size", "write 160, or 128x192; 32 to 1024"
            )
        return sides[0], sides[-1]


def is_own(word: str, called: str | None) -> bool:
    """Whether `add` is given a path or an address of the user's own, rather than a name."""
    return called is not None or "://" in word or "/" in word or word[:1] in (".", "~")


def add(
    word: str, called: str | None, flags: Flags, source: Path | None, stated: dict[str, str]
) -> None:
    """Add files of the user's own.

    Raises:
        UsageError: flags that make no sense, or no name that could be one.
        DataError: there is nothing at that path, or it is not of that kind.
    """
    from orch import installing
    from orch.cli.live import steps

    if source is not None:
        raise UsageError(f"{word} is where the files are; --from says it again", "leave it out")
    if stated:
        raise UsageError(
            "-D is chosen when you sweep", f"orch sweep NAME -D {next(iter(stated))}=…"
        )
    _, home = enter()
    own = described(word, called, flags)
    with steps() as progress:
        installed, omitted = installing.install_own(home, own, progress)
    for each in omitted[:SHOWN]:
        output.say(output.clean(f"left out: {each.path}: {each.why}"))
    if len(omitted) > SHOWN:
        output.say(f"left out: {len(omitted) - SHOWN} more")
    say_added(installed)


def described(word: str, called: str | None, flags: Flags) -> OwnData:
    """What the user says of their files, in one piece.

    Raises:
        UsageError: flags that make no sense.
        DataError: there is nothing at that path.
    """
    from orch.kinds import USUAL_KIND, OwnData

    return OwnData(
        name=called or _usual_name(word),
        kind=flags.kind or USUAL_KIND,
        source=word if "://" in word else str(_existing(word)),
        labels=flags.table("://" in word),
        image_size=flags.size(),
        link=flags.link,
        skip_broken=flags.skip_broken,
    )


def _existing(word: str) -> Path:
    path = Path(word).expanduser().absolute()
    if not path.exists():
        raise DataError(f"{word} does not exist; nothing was changed", "name a folder or archive")
    return path.resolve()


def _usual_name(word: str) -> str:
    """The name of the folder or archive, as a dataset's name is written."""
    last = word.rstrip("/").rpartition("/")[2] if "://" in word else _existing(word).name
    plain = re.sub(r"\.(zip|tar|tar\.\w+|tgz)$", "", last.lower())
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")


def require_known(home: Home, name: str, source: Path | None = None) -> None:
    """Make sure that a word is a dataset's name, or say that a folder is meant: one of that name,
    or the `source` that the files are to come from.

    Raises:
        NotFoundError: it is none.
    """
    from orch import catalog

    known = catalog.names(home)
    if name not in known:
        hint = "orch datasets"
        if source is not None:
            hint = f"orch datasets add {shlex.quote(str(source))} --name {shlex.quote(name)}"
        elif Path(name).exists():
            hint = f"orch datasets add {shlex.quote(f'./{name}')}"
        raise NotFoundError.among("dataset", name, known, hint)


def say_added(installed: Installed) -> None:
    """Say what was added, and what to do with it."""
    name, classes = installed.name, len(installed.classes)
    counts = ", ".join(f"{split} {count}" for split, count in installed.examples.items())
    output.say(
        f"{name} is added: {output.count(classes, 'class', 'classes')}, {counts}, "
        f"digest {installed.digest[:12]}"
    )
    look = f", or first: orch datasets check {name}" if installed.own else ""
    output.say(f"Next: orch sweep {name}{look}")


def facts(installed: Installed | None) -> list[tuple[str, Any]]:
    """What is kept of a user's own data, as rows."""
    own = installed.own if installed else None
    if own is None:
        return []
    return [
        ("kind", own.kind),
        ("labels", own.labels.path if own.labels else None),
        ("files", "linked, where they are" if own.link else "copied"),
    ]
