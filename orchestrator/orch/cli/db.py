"""`orch db`: the database itself."""

from __future__ import annotations

import typer

from orch.cli import output
from orch.cli.door import database_url, enter
from orch.cli.nouns import noun

app = noun("db", "The database: path, upgrade.")


@app.callback()
def show(context: typer.Context) -> None:
    """Print where the database is."""
    if not context.invoked_subcommand:
        path()


@app.command("path")
def path() -> None:
    """Print the database's URL, without its password."""
    from orch_db.connect import parse_url

    print(parse_url(database_url(*enter())).render_as_string(hide_password=True))


@app.command("upgrade")
def upgrade() -> None:
    """Bring the database's tables to the version of this orch."""
    from orch_db import schema
    from orch_db.connect import open_engine

    settings, home = enter()
    home.create()
    schema.refuse_foreign(database_url(settings, home))
    engine = open_engine(
        database_url(settings, home),
        write=True,
        busy_seconds=settings.busy_seconds,
        allow_network=settings.allow_network_filesystem,
    )
    before, after = schema.upgrade(engine)
    engine.dispose()
    output.say(
        f"the database already has schema {after}"
        if before == after
        else f"the database went from schema {before or 'none'} to {after}"
    )
