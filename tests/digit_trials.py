"""Trials on 200 digits with the small backbone: what tests of training run."""

from dataclasses import replace

from orch import catalog, registry
from orch.contracts import Problem
from orch.home import Home
from orch.training import backbones, trial
from orch.training.workbench import Workbench
from orch.trials import EpochReport, Objective, TrialOutcome, TrialSpec


def spec(home: Home, seed: int = 7, strategy: str = "fine-tune", **params: object) -> TrialSpec:
    """A trial of a strategy at its defaults but for these parameters, two epochs long."""
    installed = catalog.find(home, "digits")
    assert installed is not None
    facts = backbones.describe(home, "vgg-mini")
    weights = backbones.find_weights(home, "vgg-mini")
    assert weights is not None
    problem = Problem(registry.load_dataset("digits").facts, facts, 160)
    parameters = registry.load_strategy(strategy).parameters(problem)
    values = {each.name: each.default for each in parameters}
    values |= {"epochs": 2, "learning_rate": 1e-3}
    return TrialSpec(
        sweep="test",
        number=0,
        dataset="digits",
        dataset_options={},
        dataset_digest=installed.digest,
        limit=200,
        backbone="vgg-mini",
        weights_digest=weights.digest,
        strategy=strategy,
        params={**values, **params},
        objective=Objective(),
        seed=seed,
        keep=False,
    )


def run(wanted: TrialSpec, bench: Workbench) -> tuple[TrialOutcome, list[EpochReport]]:
    """Run a trial; its outcome and the epochs it reported."""
    reports: list[EpochReport] = []
    return trial.run_trial(wanted, reports.append, bench), reports


def keeping(wanted: TrialSpec, number: int = 0) -> TrialSpec:
    """The same trial, leaving its weights under another number."""
    return replace(wanted, keep=True, number=number)


def losses(reports: list[EpochReport]) -> list[float]:
    """Training and validation loss of every epoch."""
    return [each.metrics[name] for each in reports for name in ("loss", "val_loss")]
