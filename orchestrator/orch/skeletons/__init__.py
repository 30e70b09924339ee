"""Packages to begin a plugin with: small, typed, tested, and working before the first edit."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

from orch import __version__, registry
from orch.errors import StorageError, UsageError
from orch.probing import files

LONGEST = 30  # characters of a name: lines that hold it stay within 100
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "module.py.txt": "src/{module}.py",
    "tests.py.txt": "tests/test_{module}.py",
}


@dataclass(frozen=True)
class Written:
    """A package that was written: its folder, and the module in which the plugin is."""

    folder: Path
    module: Path


def write(kind: str, name: str, to: Path | None = None) -> Written:
    """Write the package of a new "dataset" or "strategy" into `to`, or `orch-NAME` here.

    Raises:
        UsageError: the name is none, or taken; the folder is not empty.
        StorageError: the folder cannot be written.
    """
    _check_name(kind, name)
    module = f"orch_{name.replace('-', '_')}"
    folder = Path(f"orch-{name}") if to is None else to
    _check_folder(folder)
    values = {
        "name": name,
        "title": name.replace("-", " ").capitalize(),
        "module": module,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "version": __version__,
    }
    try:
        for template, path in _FILES.items():
            place = folder / path.format(module=module)
            place.parent.mkdir(parents=True, exist_ok=True)
            text = (resources.files(__name__) / kind / template).read_text(encoding="utf-8")
            place.write_text(Template(text).substitute(values), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} cannot be written ({error.strerror or error})",
            "give another place: --to FOLDER",
        ) from None
    return Written(folder, folder / f"src/{module}.py")


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} is no name for a {kind}: lower-case letters and digits, in words with "
            f"hyphens between them, at most {LONGEST}, and no word of Python's own",
            f"orch plugins new {kind} my-{kind}",
        )
    hint = "choose another name; orch plugins lists those that are taken"
    for plugin in registry.installed():
        if (plugin.kind, plugin.name) == (kind, name):
            raise UsageError(f"{name!r} is taken: it is a {kind} of {plugin.origin}", hint)
    module = f"orch_{name.replace('-', '_')}"
    if files.find(module) is not None or _is_distribution(f"orch-{name}"):
        raise UsageError(f"{name!r} is taken: a package of that name is installed", hint)


def _is_distribution(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        what = "is not empty" if folder.is_dir() else "is a file"
        raise UsageError(f"{folder} {what}; nothing was written", "give another: --to FOLDER")
