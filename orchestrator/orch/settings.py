"""Every setting, in one table: the fields of `Settings`.

A value comes from the first of: a flag, the `ORCH_*` environment variable, `orch.toml` in the
working folder, the user's own `config.toml`, the default. `orch config` prints each with where
it came from.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from orch.errors import UsageError, nearest

Sampler = Literal["tpe", "gp", "cmaes", "random", "grid"]
Pruner = Literal["none", "asha", "hyperband", "median"]


def _default_home() -> str:
    import platformdirs

    return platformdirs.user_data_dir("orch")


def _setting(
    default: Any,
    help: str,
    *,
    choices: Any = None,
    least: float | None = None,
    secret: bool = False,
    size: bool = False,
) -> Any:
    known = get_args(choices) if choices else ()
    about = {"help": help, "choices": known, "least": least, "secret": secret, "size": size}
    return field(default=default, metadata=about, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """What a command works with; built once at a door, below which values travel, not this."""

    home: str = _setting("", "folder of database, datasets, weights, stores and logs")
    database_url: str = _setting("", "SQL database; the default is orch.db in home")
    weights_dir: str = _setting("", "extra folder in which weight files are looked for")
    ray_address: str = _setting("", "running Ray cluster to join (also RAY_ADDRESS)")
    trials: int = _setting(20, "trials of a sweep when --trials is not given", least=1)
    sampler: Sampler = _setting("tpe", "how the next trial is chosen", choices=Sampler)
    pruner: Pruner = _setting("asha", "how hopeless trials are stopped early", choices=Pruner)
    seed: int = _setting(0, "seed of the search, of initial weights and of shuffling", least=0)
    concurrent: int = _setting(0, "trials at once; 0 chooses by GPUs, else cores", least=0)
    gpus_per_trial: float = _setting(
        -1.0, "GPUs of a trial; -1 means one where there are any", least=-1
    )
    cpus_per_trial: int = _setting(0, "CPU cores of a trial; 0 divides them", least=0)
    keep: int = _setting(3, "how many of a sweep's best trials keep their weights", least=0)
    checkpoint_seconds: float = _setting(
        60.0, "how often a running trial saves where it is; 0: after every epoch", least=0
    )
    hang_timeout: float = _setting(
        0.0,
        "seconds without a batch after which a trial is ended; "
        "0: ten minutes, or ten epochs where that is longer",
        least=0,
    )
    trial_timeout: float = _setting(
        0.0, "seconds after which a trial is ended; 0: as long as it takes", least=0
    )
    plugin_timeout: float = _setting(
        20.0, "seconds that a plugin may take to say what it is before it is blocked", least=1
    )
    max_failures_in_a_row: int = _setting(10, "failed trials in a row that stop a sweep", least=1)
    cache_bytes: int = _setting(
        0,
        "most that stored examples and features may take, such as 20GB; 0: half of the disk's room",
        least=0,
        size=True,
    )
    store_features: bool = _setting(
        True, "store what frozen layers compute; off: run the whole network in every epoch"
    )
    verify_store: bool = _setting(True, "check stored arrays against their checksums when opened")
    host: str = _setting("127.0.0.1", "address on which orch serve listens")
    port: int = _setting(8642, "port on which orch serve listens; 0 takes a free one", least=0)
    allowed_hosts: str = _setting(
        "", "names by which clients may call orch serve, with commas; needed for a public address"
    )
    token: str = _setting(
        "", "what clients of orch serve show; the default is in home's file token", secret=True
    )
    url: str = _setting("", "orch serve that this command asks, http://127.0.0.1:8642")
    sweeps_at_once: int = _setting(1, "queued sweeps that orch serve runs at once", least=1)
    webhook_url: str = _setting("", "where orch serve posts notices", secret=True)
    webhook_secret: str = _setting("", "what signs them, Standard Webhooks", secret=True)
    notify_command: str = _setting(
        "", "command that orch serve gives notices on standard input", secret=True
    )
    busy_seconds: float = _setting(15.0, "how long to wait for a locked database", least=0)
    allow_network_filesystem: bool = _setting(
        False, "accept an SQLite database on a network file system, at your own risk"
    )


@dataclass(frozen=True)
class Origin:
    """Where a setting's value came from: "default", or the variable or file that set it."""

    value: Any
    source: str


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"ORCH_{name.upper()}"


def load(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user_file: Path | None = None,
) -> Settings:
    """Build the settings; `flags` of value None count as not given.

    Raises:
        UsageError: an unknown name in a file, or a value that is not of the setting's type.
    """
    origins = trace(flags, environment, folder, user_file)
    return Settings(**{name: origin.value for name, origin in origins.items()})


def trace(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user_file: Path | None = None,
) -> dict[str, Origin]:
    """Resolve every setting and remember what decided it."""
    environment = os.environ if environment is None else environment
    files = [_read((folder or Path.cwd()) / "orch.toml"), _read(user_file or user_config())]
    origins: dict[str, Origin] = {}
    for entry in dataclasses.fields(Settings):
        origin = origins[entry.name] = _resolve(entry, flags or {}, environment, files)
        least: float | None = entry.metadata["least"]
        if least is not None and origin.value < least:
            raise UsageError(
                f"{entry.name} is {origin.value} ({origin.source}), the least is {least:g}"
            )
    return origins


def user_config() -> Path:
    """The user's own configuration file, which need not exist."""
    import platformdirs

    return Path(platformdirs.user_config_dir("orch")) / "config.toml"


def _resolve(
    entry: dataclasses.Field[Any],
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    files: list[tuple[Path, dict[str, Any]]],
) -> Origin:
    name = entry.name
    if flags.get(name) is not None:
        return _typed(entry, flags[name], "flag")
    if environment.get(variable(name)):
        return _typed(entry, environment[variable(name)], variable(name))
    if name == "ray_address" and environment.get("RAY_ADDRESS"):
        return Origin(environment["RAY_ADDRESS"], "RAY_ADDRESS")
    for path, values in files:
        if name in values:
            return _typed(entry, values[name], str(path))
    return Origin(_default_home() if name == "home" else entry.default, "default")


def _typed(entry: dataclasses.Field[Any], raw: Any, source: str) -> Origin:
    kind = type(entry.default)
    choices: tuple[str, ...] = entry.metadata["choices"]
    if choices and raw not in choices:
        raise UsageError(f"{entry.name} in {source} is {raw!r}{nearest(str(raw), choices)}")
    size: bool = entry.metadata["size"] and isinstance(raw, str)
    value = _bytes(raw) if size else _converted(kind, raw)
    if value is None:
        wanted = "a size, such as 20GB" if entry.metadata["size"] else _KINDS[kind]
        raise UsageError(
            f"{entry.name} in {source} is {raw!r}, which is not {wanted}",
            "orch config shows every setting and where it came from",
        )
    return Origin(value, source)


def _converted(kind: type, raw: Any) -> Any:
    """A value of a setting's type; None where `raw`, a text or of a file, cannot become one."""
    if isinstance(raw, str) and kind is not str:
        try:
            value = _BOOLEANS[raw.lower()] if kind is bool else kind(raw)
        except (ValueError, KeyError):
            return None
    elif kind is bool and raw in (0, 1):
        value = bool(raw)
    elif kind is float and type(raw) is int:
        value = float(raw)
    else:
        value = raw if type(raw) is kind else None
    return None if isinstance(value, float) and not math.isfinite(value) else value


_SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*[A-Za-z]*\s*", re.ASCII)


def _bytes(text: str) -> int | None:
    """The bytes that a size in words such as "20GB" or "1.5 GiB" stands for."""
    from pydantic import ByteSize, TypeAdapter, ValidationError

    if not _SIZE.fullmatch(text):  # of "1,5GB" pydantic takes the 1
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        return None


_KINDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _read(path: Path) -> tuple[Path, dict[str, Any]]:
    if not path.is_file():
        return path, {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    known = {entry.name for entry in dataclasses.fields(Settings)}
    for name in values.keys() - known:
        raise UsageError(f"{path} sets {name!r}, which is no setting{nearest(name, known)}")
    return path, values
