"""`orch strategies`: ways to fine-tune, and their parameters."""

from __future__ import annotations

from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import enter, enter_with_libraries
from orch.cli.nouns import noun

app = noun("strategies", "Ways to fine-tune; show the parameters of one.")


@app.callback()
def list_strategies(
    context: typer.Context, as_json: output.Json = False, as_csv: output.Csv = False
) -> None:
    """List the strategies."""
    if context.invoked_subcommand:
        return
    from orch import probing, views

    settings, home = enter()
    asked = probing.strategies(home, settings.plugin_timeout)
    output.say_blocked(asked.blocked)
    facts = list(asked.facts.values())
    output.listing(
        views.document(strategies=[{"name": each.name, "title": each.title} for each in facts]),
        ["strategy", "what it does"],
        [[each.name, each.title] for each in facts],
        as_json=as_json,
        as_csv=as_csv,
        empty="no strategy plugin can be used",
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A strategy's name.")],
    dataset: Annotated[str, typer.Option(help="For this dataset.")] = "digits",
    backbone: Annotated[str | None, typer.Option(help="On this backbone.")] = None,
    as_json: output.Json = False,
) -> None:
    """Show a strategy's parameters: what a sweep searches, the default, what is allowed."""
    from orch import catalog, probing, registry, search_space, space, views
    from orch.contracts import Problem
    from orch.training import backbones

    settings, home = enter_with_libraries()
    facts = catalog.facts(home, dataset, settings.plugin_timeout)
    backbone = backbone or facts.backbone
    probing.facts(home, registry.STRATEGIES, name, settings.plugin_timeout)
    probing.facts(home, registry.BACKBONES, backbone, settings.plugin_timeout)
    strategy = registry.load_strategy(name)
    described = backbones.describe(home, backbone)
    rows = [
        (
            each.name,
            space.render(each.search),
            space.render_value(each.default),
            space.render(each.allowed),
            each.help,
        )
        for each in search_space.parameters(strategy, Problem(facts, described, 0))
    ]
    columns = ("parameter", "searched", "default", "allowed", "what it is")
    output.listing(
        views.document(
            name=name,
            title=strategy.facts.title,
            parameters=[dict(zip(columns, row, strict=True)) for row in rows],
        ),
        columns,
        rows,
        as_json=as_json,
        as_csv=False,
        empty="",
        title=f"{name}: {strategy.facts.title} ({dataset} on {described.name})",
    )
