"""`orch evaluate`, `orch predict`, `orch export`: what a trial's network is good for."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orch.cli import output
from orch.cli.asking import looked_here
from orch.cli.door import cannot_write, enter_with_libraries, reading
from orch.errors import DataError, NotFoundError, UsageError

if TYPE_CHECKING:
    from orch.evaluation import Evaluation
    from orch.training.inference import Trained
    from orch_db.queries import Queries
    from orch_db.records import SweepRecord, TrialRecord

Trial = Annotated[str, typer.Argument(help="A trial's id, or the beginning of one.")]
SHOWN_CLASSES = 5  # of a prediction
MATRIX_CLASSES = 20  # a confusion matrix of more does not fit a screen


def evaluate(
    trial: Trial,
    split: Annotated[str, typer.Option(help="validation, test or train.")] = "validation",
    as_json: output.Json = False,
) -> None:
    """Print the confusion matrix of a trial, and precision, recall and F1 of each class."""
    from orch import evaluation, views
    from orch.cli.live import steps
    from orch.training import inference

    trained = _load(trial)
    with steps() as progress:
        progress(f"predicting {split}", 0, None)
        labels, chances = inference.judge(trained, split)
    found = evaluation.evaluate(labels, chances, trained.classes)
    if as_json:
        content = {"trial": trained.spec.id, "split": split, "macro_f1": found.macro_f1}
        output.print_json(views.document(**content, **asdict(found)))
        return
    _print_matrix(found)
    output.show_table(
        ["class", "precision", "recall", "F1", "examples"],
        [
            [c.name, *(f"{value:.4f}" for value in (c.precision, c.recall, c.f1)), c.examples]
            for c in found.classes
        ],
    )
    print(
        f"\naccuracy {found.accuracy:.4f}, macro F1 {found.macro_f1:.4f} on {len(labels)} {split}"
    )


def _print_matrix(found: Evaluation) -> None:
    names = [each.name for each in found.classes]
    if len(names) <= MATRIX_CLASSES:
        rows = [[name, *row] for name, row in zip(names, found.confusion, strict=True)]
        output.show_table(["true \\ predicted", *names], rows)
        print()
        return
    mistakes = [
        (count, names[true], names[said])
        for true, row in enumerate(found.confusion)
        for said, count in enumerate(row)
        if said != true and count
    ]
    worst = sorted(mistakes, reverse=True)[:MATRIX_CLASSES]
    output.show_table(["times", "is", "was taken for"], worst, "the most frequent mistakes")
    print()


def predict(
    trial: Trial,
    files: Annotated[list[Path], typer.Argument(help="Images, or sound for a sound dataset.")],
    top: Annotated[int, typer.Option(min=1, help="Classes shown of each file.")] = SHOWN_CLASSES,
    as_json: output.Json = False,
    as_csv: output.Csv = False,
) -> None:
    """Print the class probabilities of files that were not seen before."""
    from orch import views
    from orch.cli.live import steps
    from orch.training import inference

    trained = _load(trial)
    images, errors = _read(trained, files)
    with steps() as progress:
        if images:
            progress("predicting", 0, None)
        chances = inference.predict(trained, list(images.values())) if images else []
    predictions = [
        (file, sorted(zip(row.tolist(), trained.classes, strict=True), reverse=True))
        for file, row in zip(images, chances, strict=True)
    ]
    document = views.document(
        trial=trained.spec.id,
        predictions=[
            {"file": str(file), "top": row[0][1], "probabilities": {name: p for p, name in row}}
            for file, row in predictions
        ],
        errors=[{"file": str(file), "message": message} for file, message in errors.items()],
    )
    _print_predictions(document, top, as_json, as_csv)
    if errors:
        raise DataError(
            f"{len(errors)} of {len(files)} files could not be read"
            f"{', the others are above' if predictions else ''}: " + "; ".join(errors.values())
        )


def _read(trained: Trained, files: list[Path]) -> tuple[dict[Path, Any], dict[Path, str]]:
    from orch.training import inference

    images: dict[Path, Any] = {}
    errors: dict[Path, str] = {}
    for file in files:
        try:
            if not file.is_file():
                raise DataError(f"{file} is not a file")
            images[file] = inference.read(trained, file)
        except DataError as error:
            errors[file] = error.message.removesuffix("; nothing was changed")
        except OSError as error:
            errors[file] = f"{file} cannot be read ({error.strerror})"
    return images, errors


def _print_predictions(document: dict[str, Any], top: int, as_json: bool, as_csv: bool) -> None:
    if as_json:
        output.print_json(document)
        return
    rows = [
        (each["file"], name, chance, name == each["top"])
        for each in document["predictions"]
        for name, chance in list(each["probabilities"].items())[:top]
    ]
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(("file", "class", "probability", "top"))
        writer.writerows((*output.csv_row(row[:3]), int(row[3])) for row in rows)
    elif rows:
        output.show_table(
            ("file", "", "class", "probability"),
            [
                (file if best else "", "→" if best else "", name, f"{chance:.4f}")
                for file, name, chance, best in rows
            ],
        )


def export(
    trial: Trial,
    to: Annotated[Path, typer.Option("--to", help="A new .keras file.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a trial's network as a Keras model: uint8 images in, class probabilities out."""
    if to.suffix != ".keras":
        raise UsageError(f"{to} does not end in .keras", f"--to {to.with_suffix('.keras')}")
    if to.exists() and not force:
        raise UsageError(f"{to} exists; nothing was written", "give another name, or --force")
    if not to.parent.is_dir():
        raise UsageError(f"the folder {to.parent} does not exist; nothing was written")
    trained = _load(trial)
    unfinished = to.with_name(f".{to.name}")
    try:
        trained.exported.save(unfinished)
        unfinished.replace(to)
    except OSError as error:
        raise cannot_write(to, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
    height, width = trained.plan.image.size
    output.say(
        f"{to} is written: uint8 images (n, {height}, {width}, 3) in, out the probabilities of "
        f"{', '.join(trained.classes)}"
    )
    if own := trained.plan.head.layers:
        module = own.name.partition(":")[0]
        output.say(f"it holds layers of {module}: import that before keras.models.load_model")


def _trial_here(queries: Queries, prefix: str) -> tuple[TrialRecord, SweepRecord]:
    """A trial of this machine, where its weights are.

    Raises:
        NotFoundError: there is none; where ORCH_URL is set, that names no other.
    """
    from orch.sweeps.life import require_trial

    try:
        return require_trial(queries, prefix)
    except NotFoundError as error:
        elsewhere = looked_here()
        if not elsewhere:
            raise
        raise NotFoundError(
            f"{error.message}{elsewhere}, for weights stay where their sweep ran",
            "the same there, without ORCH_URL",
        ) from None


def _load(prefix: str) -> Trained:
    from orch.cli.live import steps
    from orch.planning.spec import SweepSpec
    from orch.sweeps.life import keeping
    from orch.training import inference
    from orch.training.workbench import Workbench

    settings, home = enter_with_libraries()
    with reading() as queries:
        record, sweep = _trial_here(queries, prefix)
    spec = SweepSpec.from_json(sweep.spec)
    with steps() as progress:
        progress("loading the network", 0, None)
        return inference.load(
            spec.trial(record.number, record.params, record.seed, record.attempt),
            record.plan,
            Workbench(home, keeping(settings)),
        )
