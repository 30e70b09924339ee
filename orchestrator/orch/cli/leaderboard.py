"""`orch leaderboard`: every completed trial, ranked among those it can be compared with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orch.cli import output
from orch.cli.asking import results
from orch.cli.door import enter
from orch.errors import UsageError


def leaderboard(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.")] = None,
    top: Annotated[int, typer.Option(help="Rows of each board.")] = 10,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """Rank completed trials; only those judged by the same examples share a board."""
    from orch import views

    if top < 1:
        raise UsageError(f"--top {top} leaves no row", "give 1 or more")
    with results() as queries:
        boards = [board for board in queries.boards(dataset, top) if board.rows]
    if not boards:
        _check_dataset(dataset)
    document = views.document(**views.leaderboard(boards))
    if as_json or as_csv or not boards:
        rows = document["rows"]
        columns = [name for name in rows[0] if name not in ("metrics", "failure")] if rows else []
        cells = [[_flat(row[name]) for name in columns] for row in rows]
        output.listing(
            document,
            columns,
            cells,
            as_json=as_json,
            as_csv=as_csv,
            empty=f"no trial of {dataset or 'any dataset'} has completed yet; "
            f"try: orch sweep {dataset or 'digits'}",
        )
        return
    titles = [_title(board) for board in boards]
    for board, title in zip(boards, titles, strict=True):
        _show(board, title if titles.count(title) == 1 else f"{title}, {_data(board)}")


def _title(board: Any) -> str:
    """What a board is called: dataset, options that are not the default, limit."""
    from orch.cli import tables

    some = next(iter(board.sweeps.values())).spec
    options = "".join(f", {pair}" for pair in tables.chosen_options(board.dataset, some))
    return f"{board.dataset}{options}{f', {board.limit} examples' if board.limit else ''}"


def _data(board: Any) -> str:
    """What tells a board from another of the same title: the data and the metric."""
    some = next(iter(board.sweeps.values())).spec
    return f"{board.metric}, data {str(some.get('dataset_digest'))[:12]}"


def _show(board: Any, title: str) -> None:
    from orch import views
    from orch.cli import tables

    names: list[str] = []
    for sweep in board.sweeps.values():
        names += [n for n in views.searched(sweep.spec.get("space")) if n not in names]
    names = [name for name in names if name not in tables.SHOWN_ELSEWHERE]
    rows = [
        [
            rank,
            trial.id[:6],
            f"{trial.score:.4f}",
            tables.frozen(trial),
            *(views.value(trial.params.get(name, "-")) for name in names),
            board.sweeps[trial.sweep_id].strategy,
            board.sweeps[trial.sweep_id].backbone,
            trial.sweep_id[:6],
        ]
        for rank, trial in enumerate(board.rows, start=1)
    ]
    columns = ["#", "trial", board.metric, "frozen", *names, "strategy", "backbone", "sweep"]
    output.show_table(columns, rows, title)


def _flat(value: Any) -> Any:
    import json

    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def _check_dataset(name: str | None) -> None:
    """Say of a dataset without results whether there is one; what was removed may have some."""
    from orch import catalog
    from orch.errors import NotFoundError

    known = catalog.names(enter()[1])
    if name is not None and name not in known:
        raise NotFoundError.among("dataset", name, known, "orch datasets")
