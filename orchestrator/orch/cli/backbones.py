"""`orch backbones`: pretrained networks and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.door import enter, enter_with_libraries
from orch.cli.nouns import noun

if TYPE_CHECKING:
    from orch.contracts import NetworkFacts
    from orch.home import Home

app = noun("backbones", "Pretrained networks; add weights, show layers and cuts.")

Name = Annotated[str, typer.Argument(help="A backbone's name.")]


@app.callback()
def list_backbones(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the networks that can be started from, and whose weights are present."""
    if context.invoked_subcommand:
        return
    from orch import probing, views
    from orch.training import backbones

    settings, home = enter()
    asked = probing.backbones(home, settings.plugin_timeout)
    why = {each.name: str(each) for each in asked.blocked}
    documents = [_document(home, n, asked.facts.get(n), why.get(n)) for n in backbones.names()]
    columns = ("backbone", "weights", "digest", "trained at", "licence", "from")
    output.listing(
        views.document(backbones=documents),
        columns,
        [
            (
                each["name"],
                "blocked" if each["problem"] else each["weights"],
                each["digest"] and each["digest"][:12],
                each["image_size"],
                each["licence"],
                each["distribution"],
            )
            for each in documents
        ],
        as_json=as_json,
        as_csv=as_csv,
        empty="no backbone plugin is installed",
    )
    for each in documents:
        if each["problem"]:
            output.say(output.clean(each["problem"]))


def _document(
    home: Home, name: str, facts: NetworkFacts | None, problem: str | None
) -> dict[str, Any]:
    """What is known of a backbone; one that cannot be used says why, and takes nothing with it."""
    from orch import registry
    from orch.errors import OrchError
    from orch.training import backbones

    document: dict[str, Any] = dict.fromkeys(
        ("title", "weights", "digest", "image_size", "licence", "homepage", "problem")
    )
    document |= {"name": name, "distribution": registry.version(registry.BACKBONES, name)}
    if facts is None:
        return {**document, "problem": problem}
    try:
        weights = backbones.weights_of(home, facts)
    except OrchError as error:
        return {**document, "problem": error.message}
    known = ("title", "image_size", "licence", "homepage")
    document |= {each: getattr(facts, each) for each in known}
    if weights:
        document["weights"] = "added" if weights.added else "shipped"
        document["digest"] = weights.digest
    return document


@app.command("add")
def add(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A weight file (.h5, .keras, .npz) without the classifier."),
    ] = None,
) -> None:
    """Add weights: from a local file, or from where they are published."""
    from orch import probing, registry
    from orch.cli.live import steps
    from orch.training import backbones

    settings, home = enter_with_libraries()
    probing.facts(home, registry.BACKBONES, name, settings.plugin_timeout)
    with steps() as progress:
        progress(f"checking the weights of {name}", 0, None)
        if source is None:
            weights = backbones.ensure_weights(home, name, settings.weights_dir, progress)
        else:
            weights = backbones.add_weights(home, name, source)
    there = "are added" if weights.added else "came with it"
    output.say(f"the weights of {name} {there}: digest {weights.digest}")


@app.command("show")
def show(name: Name, as_json: output.Json = False) -> None:
    """Show a backbone's layers, and at which counts of frozen layers it can be cut."""
    from dataclasses import asdict

    from orch import probing, registry, views
    from orch.training import backbones

    settings, home = enter_with_libraries()
    probing.facts(home, registry.BACKBONES, name, settings.plugin_timeout)
    facts = backbones.describe(home, name)
    rows = [
        (
            count,
            layer.name,
            layer.kind,
            f"{layer.parameters:,}",
            "searched" if count in facts.stages else "yes" if count in facts.cuts else "",
        )
        for count, layer in enumerate(facts.layers, start=1)
    ]
    output.listing(
        views.document(**asdict(facts)),
        ("frozen_layers", "last frozen layer", "kind", "weights", "cut"),
        rows,
        as_json=as_json,
        as_csv=False,
        empty="",
    )
