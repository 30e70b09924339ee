"""`orch doctor`: is this machine ready?"""

from __future__ import annotations

from orch.cli import output


def doctor(as_json: output.Json = False) -> None:
    """Check versions, GPUs, disk, database and data; say what to do about what is wrong."""
    from orch import views
    from orch.cli.door import database_url, enter
    from orch.doctor import examine

    settings, home = enter()
    findings = examine(home, database_url(settings, home), settings.plugin_timeout)
    output.listing(
        views.document(
            ready=all(each.good for each in findings),
            findings=[
                {"what": each.what, "found": each.found, "good": each.good, "advice": each.advice}
                for each in findings
            ],
        ),
        ("", "what", "found", "advice"),
        [
            ("ok" if each.good else "!", each.what, each.found, each.advice or None)
            for each in findings
        ],
        as_json=as_json,
        as_csv=False,
        empty="",
    )
