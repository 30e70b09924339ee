"""`orch db`: the database itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orch.cli import output
from orch.cli.door import database_url, enter
from orch.cli.nouns import noun
from orch.errors import StorageError

app = noun("db", "The database: path, check, backup, upgrade.")


@app.callback()
def show(context: typer.Context) -> None:
    """Print where the database is."""
    if not context.invoked_subcommand:
        path()


@app.command("path")
def path() -> None:
    """Print the database's URL, without its password."""
    from orch_db.connect import shown

    print(shown(database_url(*enter())))


@app.command("check")
def check(as_json: output.Json = False) -> None:
    """Look for damage, for rows that belong to nothing, and for another schema."""
    from orch import views
    from orch_db.connect import shown
    from orch_db.inspection import examine

    url = database_url(*enter())
    found = examine(url)
    if as_json:
        output.print_json(
            views.document(
                url=shown(url),
                product=found.product,
                schema=found.schema,
                rows=found.rows,
                problems=found.problems,
            )
        )
    elif found.schema is None and not found.problems:
        output.say(f"there is no database yet; it will be {shown(url)}")
    else:
        facts = [("database", shown(url)), ("kind", found.product), ("schema", found.schema)]
        counts = [(name, str(count)) for name, count in found.rows.items()]
        problems = [("problem", problem) for problem in found.problems]
        output.show_table(("", "found"), [*facts, *counts, *problems])
    if found.problems:
        raise StorageError(
            f"the database is not as it should be: {found.problems[0]}; nothing was changed",
            found.remedy,
        )


@app.command("backup")
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(help="File to write; the default is a dated one in home/backups."),
    ] = None,
) -> None:
    """Copy the database into a file, also while sweeps run, and check the copy."""
    from orch_db import backup as copies

    settings, home = enter()
    url = database_url(settings, home)
    target = file or home.backups / f"orch.{copies.instant()}{copies.suffix(url)}"
    if file is None:
        home.create()
        home.backups.mkdir(mode=0o700, exist_ok=True)
    copies.write(url, target)
    print(target)


@app.command("upgrade")
def upgrade() -> None:
    """Bring the database's tables to the version of this orch; SQLite is copied first."""
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
    try:
        before, after = schema.upgrade(
            engine, lambda copy: output.say(f"the database as it was is kept in {copy}")
        )
    finally:
        engine.dispose()
    output.say(
        f"the database already has schema {after}"
        if before == after
        else f"the database went from schema {before or 'none'} to {after}"
    )
