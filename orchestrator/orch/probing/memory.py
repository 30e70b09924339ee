"""What plugins said when they were last asked, one file for each group in the home folder.

What is kept counts while its key does: the versions of the plugin's distribution and of orch,
and the sizes and times of change of the plugin's file and of the modules beside it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orch import __version__
from orch.errors import StorageError
from orch.home import Home, write_json
from orch.registry import Plugin


@dataclass(frozen=True)
class Remembered:
    """What a plugin said of itself, as a document, or why it is blocked."""

    key: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    why: str = ""


Memory = Mapping[str, Remembered]


def key(plugin: Plugin, file: Path | None) -> str:
    """What tells a plugin from itself as it was; a change of the files beside its own counts."""
    about = [__version__, sys.version, plugin.origin, plugin.target, *_stamps(file)]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:32]


def _stamps(file: Path | None) -> list[str]:
    if file is None:
        return []
    alone = not (file.parent / "__init__.py").exists()
    beside = [file] if alone else sorted({file, *file.parent.glob("*.py")})
    found: list[str] = []
    for path in beside:
        with suppress(OSError):  # gone since it was listed: that is a change too
            stat = path.stat()
            found.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
    return found


def read(home: Home, group: str) -> Memory:
    """What is remembered of a group, by name; nothing where the file is absent or damaged."""
    try:
        document = json.loads(_file(home, group).read_text(encoding="utf-8"))
        return {name: _checked(content) for name, content in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # it is asked anew


def _checked(content: Mapping[str, Any]) -> Remembered:
    found = Remembered(**content)
    if type(found.key) is not str or type(found.why) is not str or type(found.facts) is not dict:
        raise TypeError("not what was written")
    return found


def write(home: Home, group: str, memory: Memory) -> None:
    """Remember these, in place of what was; a home that cannot be written remembers nothing."""
    with suppress(StorageError, OSError):
        home.create()
        document = {name: asdict(each) for name, each in memory.items()}
        write_json(_file(home, group), document)


def forget(home: Home, plugin: Plugin) -> None:
    """Ask a plugin anew when it is next listed."""
    kept = {name: each for name, each in read(home, plugin.group).items() if name != plugin.name}
    write(home, plugin.group, kept)


def block(home: Home, plugin: Plugin, file: Path | None, why: str) -> None:
    """Remember that a use of a plugin failed."""
    fresh = Remembered(key(plugin, file), why=why)
    write(home, plugin.group, {**read(home, plugin.group), plugin.name: fresh})


def _file(home: Home, group: str) -> Path:
    return home.plugins / f"{group}.json"
