"""`orch backbones`: pretrained networks and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import enter, enter_with_libraries
from orch.cli.nouns import noun

app = noun("backbones", "Pretrained networks; add weights, show layers and cuts.")

Name = Annotated[str, typer.Argument(help="A backbone's name.")]


@app.callback()
def list_backbones(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the networks that can be started from, and whose weights are present."""
    if context.invoked_subcommand:
        return
    from orch import views
    from orch.training import backbones

    _, home = enter()
    documents, rows = [], []
    for name in backbones.names():
        weights = backbones.find_weights(home, name)
        shipped = name == backbones.VGG_MINI
        source = "shipped" if shipped else "added" if weights else None
        digest = weights.digest if weights else None
        size = backbones.image_size(name)
        documents.append({"name": name, "weights": source, "digest": digest, "image_size": size})
        rows.append([name, source, digest[:12] if digest else None, size])
    output.listing(
        views.document(backbones=documents),
        ["backbone", "weights", "digest", "trained at"],
        rows,
        as_json=as_json,
        as_csv=as_csv,
        empty="",
    )


@app.command("add")
def add(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", help="A weight file (.h5) without the classifier.")
    ] = None,
) -> None:
    """Add weights: from a local file, or from Keras's own source."""
    from orch.cli.live import steps
    from orch.training import backbones

    settings, home = enter_with_libraries()
    with steps() as progress:
        progress(f"checking the weights of {name}", 0, None)
        if source is None:
            weights = backbones.ensure_weights(home, name, settings.weights_dir, progress)
        else:
            weights = backbones.add_weights(home, name, source)
    output.say(f"the weights of {name} are added: digest {weights.digest[:12]}")


@app.command("show")
def show(name: Name, as_json: output.Json = False) -> None:
    """Show a backbone's layers, and at which counts of frozen layers it can be cut."""
    from dataclasses import asdict

    from orch import views
    from orch.training import backbones

    _, home = enter_with_libraries()
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
