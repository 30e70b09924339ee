"""`orch config`: every setting, its value and where it came from."""

from __future__ import annotations

from orch.cli import output

HIDDEN = "***"  # in the place of a secret


def config(as_json: output.Json = False) -> None:
    """Print every setting with its value and where it came from."""
    import dataclasses

    from orch import views
    from orch.cli.door import database_url, enter
    from orch.settings import Settings, load, trace, variable

    origins = trace()
    settings, home = enter()
    del settings
    rows, documents = [], []
    for entry in dataclasses.fields(Settings):
        origin = origins[entry.name]
        value = origin.value
        if entry.name == "database_url":
            value = _without_password(database_url(load(), home))
        elif entry.metadata["secret"] and value:
            value = HIDDEN
        rows.append((entry.name, _shown(value), origin.source, entry.metadata["help"]))
        documents.append(
            {
                "name": entry.name,
                "value": value,
                "source": origin.source,
                "variable": variable(entry.name),
                "help": entry.metadata["help"],
            }
        )
    output.listing(
        views.document(settings=documents),
        ("setting", "value", "from", "what it is"),
        rows,
        as_json=as_json,
        as_csv=False,
        empty="",
    )


def _shown(value: object) -> str:
    return str(value) if value != "" else "-"


def _without_password(url: str) -> str:
    from orch_db.connect import shown

    return shown(url)
