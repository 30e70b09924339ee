"""`orch datasets`: what is known, what is present, and adding it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orch.cli import contact_sheet, curves, dataset_check, options, output, own_data
from orch.cli.door import database_url, enter
from orch.cli.nouns import noun
from orch.errors import NotFoundError

app = noun("datasets", "Datasets that are known; add, show, check, remove, rename, path.")

Name = Annotated[str, typer.Argument(help="A dataset's name.")]


app.command("check")(dataset_check.check)


@app.callback()
def list_datasets(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the datasets that are known, and what is present of each."""
    if context.invoked_subcommand:
        return
    from orch import catalog, views

    settings, home = enter()
    documents, rows = [], []
    known, blocked = catalog.known(home, settings.plugin_timeout)
    output.say_blocked(blocked.values())
    for name, facts in known.items():
        installed = catalog.find(home, name)
        documents.append(views.dataset(facts, installed))
        splits = installed.examples if installed else {}
        rows.append(
            [
                name,
                "yes" if installed else "embedded" if facts.embedded else "no",
                len(facts.classes),
                ", ".join(f"{split} {count}" for split, count in splits.items()) or None,
                output.size(installed.bytes) if installed else _download(facts.source),
                installed.digest[:12] if installed else None,
                facts.title,
            ]
        )
    output.listing(
        views.document(datasets=documents),
        ["dataset", "present", "classes", "splits", "size", "digest", "title"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="no dataset plugin is installed",
    )


def _download(source: object) -> str | None:
    count = getattr(source, "bytes", None)
    return f"{output.size(count)} to fetch" if count else None


@app.command("add")
def add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A dataset's name; or a folder or archive of your own, hf://… or tfds://…",
        ),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="An archive or folder that you have.")
    ] = None,
    called: own_data.Called = None,
    kind: own_data.KindName = None,
    labels: own_data.Labels = None,
    path_column: own_data.PathColumn = None,
    label_column: own_data.LabelColumn = None,
    split_column: own_data.SplitColumn = None,
    image_size: own_data.ImageSize = None,
    link: own_data.Link = False,
    skip_broken: own_data.SkipBroken = False,
    split: options.Split = None,
    chosen: options.Chosen = None,
) -> None:
    """Add a dataset: from its publisher, from an archive or folder, or out of your own files."""
    flags = own_data.Flags(
        kind, labels, path_column, label_column, split_column, image_size, link, skip_broken
    )
    if own_data.is_own(name, called):
        own_data.add(name, called, flags, source, options.read(chosen, split))
        return
    own_data.require_known(enter()[1], name, source)
    flags.refuse(name)
    _add(name, source, options.read(chosen, split))


def _add(name: str, source: Path | None, stated: dict[str, str]) -> None:
    from orch import catalog, installing, search_space
    from orch.cli.live import steps

    settings, home = enter()
    wanted = search_space.options(catalog.facts(home, name, settings.plugin_timeout), stated)
    with steps() as progress:
        installed = installing.install(home, name, source, progress, wanted)
    own_data.say_added(installed)


@app.command("remove")
def remove(name: Name, yes: output.Yes = False) -> None:
    """Delete a dataset's files from orch's home; results with it stay."""
    from orch import catalog, upkeep
    from orch.service.state import serving

    settings, home = enter()
    home.create()
    installed = catalog.find(home, name)
    if installed is not None and installed.own is not None and not installed.own.link:
        output.confirm(f"delete orch's copy of {name}, {output.size(installed.bytes)}?", yes)
    with serving(settings, home, database_url(settings, home)) as service:
        size = upkeep.remove(home, name, service.queries)
    output.say(f"{name} is removed, {output.size(size)} are free; results with it stay")


@app.command("rename")
def rename(name: Name, new: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give a dataset of your own another name; its results come with it."""
    from orch import upkeep
    from orch.service.state import serving

    settings, home = enter()
    home.create()
    with serving(settings, home, database_url(settings, home)) as service:
        sweeps = upkeep.rename(home, name, new, service.sweeps, service.queries)
    output.say(f"{name} is called {new} now, in {output.count(sweeps, 'sweep')} too")


@app.command("show")
def show(
    name: Name,
    png: Annotated[
        Path | None, typer.Option(help="Write a few pictures of each class to this file.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Show a dataset: facts, and the number of examples of each class in each split."""
    from orch import catalog, space, views

    settings, home = enter()
    own_data.require_known(home, name)
    facts = catalog.facts(home, name, settings.plugin_timeout)
    installed = catalog.find(home, name)
    if png is not None:
        curves.check(png)
        contact_sheet.save(png, name, catalog.open_splits(home, name), facts.classes)
        output.say(f"{png} is written")
    if as_json:
        counts = dict(installed.splits) if installed else None
        output.print_json(views.document(**views.dataset(facts, installed), class_counts=counts))
        return
    rows = [
        ("title", facts.title),
        ("licence", facts.licence),
        ("homepage", facts.homepage),
        ("citation", facts.citation),
        ("default backbone", facts.backbone),
        ("image size", " × ".join(map(str, facts.image_size))),
        ("recipes", ", ".join(f"{name}/{each.name}" for each in facts.recipes) or None),
        ("present", "yes" if installed else "no"),
        ("digest", installed.digest if installed else None),
        ("added from", installed.source if installed else None),
        *own_data.facts(installed),
    ]
    output.show_table(("dataset", name), rows)
    if facts.options:
        print()
        output.show_table(
            ("option", "default", "allowed", "what it is"),
            [
                (
                    each.name,
                    space.render_value(each.default),
                    space.render(each.allowed),
                    each.help,
                )
                for each in facts.options
            ],
        )
    if installed:
        print()
        splits = list(installed.splits)
        output.show_table(
            ("class", *splits),
            [
                (label, *(installed.splits[split][at] for split in splits))
                for at, label in enumerate(installed.classes)
            ],
        )


@app.command("path")
def path(name: Name) -> None:
    """Print the folder that holds a dataset's files."""
    from orch import catalog

    _, home = enter()
    own_data.require_known(home, name)
    installed = catalog.find(home, name)
    if installed is None:
        raise NotFoundError(f"{name} is not installed", f"orch datasets add {name}")
    print(catalog.content(home, installed))
