"""`orch cache`: stored examples and features, who uses them, and making room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.door import enter
from orch.cli.nouns import noun
from orch.errors import NotFoundError

if TYPE_CHECKING:
    from orch.home import Home
    from orch.training.eviction import Stored

app = noun("cache", "Stored examples and features: size, hits, users; clear.")

SHORT = 8  # characters of an id in a table


@app.callback()
def list_cache(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List stored examples and features, the last used first."""
    if context.invoked_subcommand:
        return
    import time

    from orch import views
    from orch.training import eviction

    settings, home = enter()
    home.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = eviction.stored(home.store)
    most = eviction.capacity(home.store, settings.cache_bytes)
    total = sum(each.bytes for each in found)
    document = views.document(
        bytes=total, limit=most, arrays=[views.stored_array(each) for each in found]
    )
    output.listing(
        document,
        ["id", "what", "examples", "size", "took", "hits", "sweeps", "used", "state"],
        [_row(each, time.time()) for each in found],
        as_json=as_json,
        as_csv=as_csv,
        empty="nothing is stored yet; a sweep fills the store",
    )
    if found and not (as_json or as_csv):
        output.say(f"\n{output.size(total)} of {output.size(most)} that the store may take")


def _row(each: Stored, now: float) -> list[Any]:
    sweeps = [user[:6] for user in each.users]
    more = f" and {len(sweeps) - 2} more" if len(sweeps) > 2 else ""
    return [
        each.address[:SHORT],
        each.title or "-",
        each.rows or None,
        output.size(each.bytes),
        output.duration(each.seconds or None),
        each.hits,
        ", ".join(sweeps[:2]) + more or None,
        f"{output.duration(max(0.0, now - each.last_used))} ago",
        "in use" if each.held else each.state,
    ]


@app.command("clear")
def clear(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids as orch cache lists them; none means all.")
    ] = None,
    unused_for: Annotated[
        str | None, typer.Option("--unused-for", help="Only what was not used for 7d, 12h.")
    ] = None,
) -> None:
    """Delete what no running trial uses; a sweep that needs it later computes it again."""
    import time

    from orch.planning.spec import parse_duration
    from orch.training import eviction

    _, home = enter()
    age = parse_duration(unused_for, "--unused-for") if unused_for is not None else 0.0
    chosen = [each for each in _chosen(home, ids or []) if time.time() - each.last_used >= age]
    freed = [each for each in chosen if eviction.delete(each)]
    output.say(
        f"{output.size(sum(each.bytes for each in freed))} freed, "
        f"{output.count(len(freed), 'array')} deleted"
    )
    if held := len(chosen) - len(freed):
        output.say(f"kept, since running trials use it: {output.count(held, 'array')}")


def _chosen(home: Home, ids: list[str]) -> list[Stored]:
    from orch.training import eviction

    there = eviction.stored(home.store)
    for prefix in ids:
        if not any(each.address.startswith(prefix) for each in there):
            raise NotFoundError(
                f"nothing in the store has an id that begins with {prefix!r}", "orch cache"
            )
    return [each for each in there if not ids or each.address.startswith(tuple(ids))]
