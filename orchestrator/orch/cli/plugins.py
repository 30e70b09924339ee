"""`orch plugins`: what is installed, whether it keeps its promises, and the start of a new one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orch.cli import output
from orch.cli.door import enter
from orch.cli.nouns import noun
from orch.errors import DataError, NotFoundError, PluginError, UsageError, nearest

if TYPE_CHECKING:
    from orch.checks import Result
    from orch.probing import State

app = noun("plugins", "Plugins that are installed; check one, begin a new one.")
new = typer.Typer(name="new", help="Write the package of a new plugin.", rich_markup_mode=None)
app.add_typer(new)

COLUMNS = ("plugin", "kind", "distribution", "version", "file", "state")
FEW = 5  # plugins that one file may bring and each still has a line

Name = Annotated[str, typer.Argument(help="What the new plugin is called.")]
To = Annotated[Path | None, typer.Option("--to", help="Its folder; the default is orch-NAME.")]


@app.callback()
def list_plugins(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Option(help="Only dataset, strategy, backbone, kind or gallery.")
    ] = None,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """List the plugins and whether they can be used; none of them is imported."""
    if context.invoked_subcommand:
        return
    from orch import probing, registry, views

    _, home = enter()
    kinds = list(registry.GROUPS.values())
    if kind is not None and kind not in kinds:
        raise UsageError(f"--kind is {kind!r}{nearest(kind, kinds)}")
    states = [each for each in probing.states(home) if kind in (None, each.plugin.kind)]
    if as_json or as_csv or not states:
        output.listing(
            views.document(plugins=[views.plugin(each) for each in states]),
            COLUMNS,
            [_row(each.name, each, str(each.file) if each.file else None) for each in states],
            as_json=as_json,
            as_csv=as_csv,
            empty=f"no {kind or 'plugin'} is installed",
        )
        return
    output.show_table(COLUMNS, list(_rows(states, FEW if kind is None else len(states))))
    if kind is None:
        output.say("orch plugins --kind KIND lists each of a kind, orch plugins check NAME checks")


def _row(name: str, state: State, file: str | None) -> list[str | None]:
    by, said = state.plugin, f"{state.word}: {state.why}" if state.why else state.word
    return [name, by.kind, by.distribution, by.version, file, said]


def _rows(states: list[State], few: int) -> Iterator[list[str | None]]:
    """A row for each plugin, as people read it; more than a few that one file brings are one."""
    together: dict[object, list[State]] = {}
    for each in states:
        together.setdefault((each.plugin.kind, each.plugin.origin, each.file, each.why), []).append(
            each
        )
    for members in together.values():
        file = members[0].file
        shown = _below_sys_path(file) if file else None
        if len(members) > few:
            yield _row(f"{len(members)} of them", members[0], shown)
        else:
            yield from (_row(each.name, each, shown) for each in members)


def _below_sys_path(file: Path) -> str:
    """A module's file as it is imported: from the folder of `sys.path` that it lies in."""
    above = [Path(place) for place in sys.path if place and file.is_relative_to(place)]
    return (
        str(file.relative_to(max(above, key=lambda place: len(place.parts))))
        if above
        else str(file)
    )


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A plugin's name.")],
    kind: Annotated[
        str | None,
        typer.Option(help="dataset, strategy or backbone, where several have that name."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="An archive or folder to install a dataset from.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Check that a plugin keeps its promises: one line for each, exit code 6 for a fault."""
    from orch import views
    from orch.checks import running

    settings, home = enter()
    state = _chosen(name, kind)
    if source is not None and not source.exists():
        raise DataError(f"{source} does not exist; nothing was checked")
    results: list[Result] = []
    for result in running.check(
        state, home, source.absolute() if source else None, settings.plugin_timeout
    ):
        results.append(result)
        if not as_json and result.outcome != "not run":
            print(_line(result.outcome, result.check, result.why or result.promise))
    faults = sum(result.outcome == "fault" for result in results)
    if as_json:
        found = [asdict(each) for each in results]
        output.print_json(views.document(**views.plugin(state), good=not faults, checks=found))
    else:
        _print_not_run(results)
    if faults:
        raise PluginError(
            f"the {state.plugin.kind} {name!r} of {state.plugin.origin} breaks {faults} of "
            f"{len(results)} promises",
            "docs/plugins.md says what each check asks for",
        )


def _line(outcome: str, checks: str, said: str) -> str:
    return output.clean(f"{outcome:<9}{checks:<15}{said}")


def _print_not_run(results: list[Result]) -> None:
    """A line for each reason, with the checks that were not run for it."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.outcome == "not run":
            reasons.setdefault(result.why, []).append(result.check)
    for why, checks in reasons.items():
        print(output.clean(f"{'not run':<9}{', '.join(checks)}: {why}"))


def _chosen(name: str, kind: str | None) -> State:
    """The plugin of that name that can be checked; what is remembered of it does not count."""
    from orch import probing, registry
    from orch.checks import running

    kinds = [registry.GROUPS[group] for group in running.CHECKS]
    if kind is not None and kind not in kinds:
        raise UsageError(f"--kind is {kind!r}{nearest(kind, kinds)}")
    plugins = [each for each in registry.installed() if kind in (None, each.kind)]
    named = tuple(each for each in plugins if each.name == name)
    if not named:
        known = {each.name for each in plugins}
        raise NotFoundError.among(kind or "plugin", name, known, "orch plugins lists all")
    found = {each.plugin.kind: each for each in probing.seen(named) if each.plugin.kind in kinds}
    if not found:
        raise UsageError(f"{name!r} is a {named[0].kind}: there are no checks for one")
    if len(found) > 1:
        raise UsageError(
            f"{name!r} is a {' and a '.join(found)}",
            f"orch plugins check {name} --kind {next(iter(found))}",
        )
    return next(iter(found.values()))


@new.command("dataset")
def new_dataset(name: Name, to: To = None) -> None:
    """Write a package with a dataset of tiny drawn images, to be made your own."""
    _write("dataset", name, to)


@new.command("strategy")
def new_strategy(name: Name, to: To = None) -> None:
    """Write a package with a strategy, a variant of fine-tune, to be made your own."""
    _write("strategy", name, to)


def _write(kind: str, name: str, to: Path | None) -> None:
    from orch import skeletons

    written = skeletons.write(kind, name, to)
    sweep = f"orch sweep {name}" if kind == "dataset" else f"orch sweep digits --strategy {name}"
    output.say(f"{written.folder} holds the {kind} {name}: {written.module.name} is where it is")
    output.say("Next:")
    output.say(f"  pip install -e {written.folder}")
    output.say(f"  orch plugins check {name}")
    output.say(f"  {sweep} --trials 4")
