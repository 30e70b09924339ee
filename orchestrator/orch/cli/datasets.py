"""`orch datasets`: what is known, what is present, and adding it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orch.cli import contact_sheet, curves, dataset_check, options, output
from orch.cli.door import enter
from orch.cli.nouns import noun
from orch.errors import NotFoundError

app = noun("datasets", "Datasets that are known; add, show, check, path.")

Name = Annotated[str, typer.Argument(help="A dataset's name.")]


app.command("check")(dataset_check.check)


@app.callback()
def list_datasets(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the datasets that are known, and what is present of each."""
    if context.invoked_subcommand:
        return
    from orch import catalog, registry, views

    _, home = enter()
    documents, rows = [], []
    for name in registry.dataset_names():
        facts, installed = registry.load_dataset(name).facts, catalog.find(home, name)
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
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", help="An archive or folder that you have.")
    ] = None,
    split: options.Split = None,
    chosen: options.Chosen = None,
) -> None:
    """Add a dataset: fetch it from its publisher, or take it from a local archive or folder."""
    from orch import catalog, registry, search_space
    from orch.cli.live import steps

    _, home = enter()
    stated = options.read(chosen, split)
    wanted = search_space.options(registry.load_dataset(name).facts, stated)
    with steps() as progress:
        installed = catalog.install(home, name, source, progress, wanted)
    counts = ", ".join(f"{split} {count}" for split, count in installed.examples.items())
    output.say(f"{name} is added: {counts}, digest {installed.digest[:12]}")
    output.say(f"Next: orch sweep {name}")


@app.command("show")
def show(
    name: Name,
    png: Annotated[
        Path | None, typer.Option(help="Write a few pictures of each class to this file.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Show a dataset: facts, and the number of examples of each class in each split."""
    from orch import catalog, registry, space, views

    _, home = enter()
    if png is not None:
        curves.check(png)
        splits = catalog.open_splits(home, name)
        contact_sheet.save(png, name, splits, registry.load_dataset(name).facts.classes)
        output.say(f"{png} is written")
    facts, installed = registry.load_dataset(name).facts, catalog.find(home, name)
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
    from orch import catalog, registry

    _, home = enter()
    registry.load_dataset(name)
    installed = catalog.find(home, name)
    if installed is None:
        raise NotFoundError(f"{name} is not installed", f"orch datasets add {name}")
    print(catalog.content(home, installed))
