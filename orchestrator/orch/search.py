"""The search: Optuna decides what to try next and what to stop. It runs nothing.

Samplers: TPE (Bergstra et al., 2011) in its multivariate form with the constant-liar rule for
parallel trials, Gaussian processes, CMA-ES (Hansen, 2016), random, grid. Pruners: asynchronous
successive halving (Li et al., 2020), Hyperband (Li et al., 2018), median (Golovin et al., 2017).
"""

from __future__ import annotations

import itertools
import json
import math
import random
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orch import space
from orch.errors import UsageError
from orch.settings import Pruner, Sampler
from orch.space import Choice, Domain, Fixed, Int, Log, Uniform, Value
from orch.trials import Objective

GRID_POINTS = 5  # values that the grid sampler takes from a continuous range
FIRST_RUNG = 2  # epochs before asha and hyperband stop anything
DRAWS = 1000  # at random, before a space is walked for what was not tried
KEPT = 3  # one in so many goes on at each rung

Ending = Literal["completed", "pruned", "infeasible", "failed"]


@dataclass(frozen=True)
class Tried:
    """A trial of an earlier run: what it tried and how it ended."""

    number: int
    params: Mapping[str, Value]
    ending: Ending
    score: float | None
    reports: Mapping[int, float]


class Search:
    """Suggests configurations and learns from how they end; the same seed suggests the same.

    With several trials at once a suggestion also depends on which of them ended first.
    """

    def __init__(
        self,
        domains: Mapping[str, Domain],
        first: Mapping[str, Value],
        objective: Objective,
        sampler: Sampler,
        pruner: Pruner,
        seed: int,
        tried: tuple[Tried, ...] = (),
        waiting: Mapping[int, Mapping[str, Value]] | None = None,
    ) -> None:
        self._walk = sampler == "grid"
        self._domains = grid(domains) if self._walk else dict(domains)
        self._fixed = {n: d.value for n, d in self._domains.items() if isinstance(d, Fixed)}
        self._open = {n: d for n, d in self._domains.items() if not isinstance(d, Fixed)}
        self._distributions = {name: _distribution(d) for name, d in self._open.items()}
        self._seen: set[str] = set()
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._objective = objective
        self._random = random.Random(seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several samplers are marked experimental
            self._study = optuna.create_study(
                study_name=f"seed {seed}",  # Hyperband chooses brackets by the study's name
                direction=objective.direction,
                sampler=_sampler(sampler, seed),
                pruner=_pruner(pruner),
            )
        for trial in tried:
            self._replay(trial)
        for number, params in (waiting or {}).items():
            self._recall(number, params)
        possible = all(space.contains(self._domains[name], first[name]) for name in first)
        if possible and not tried and not waiting:
            self._study.enqueue_trial({name: first[name] for name in self._open})

    def suggest(self, number: int) -> dict[str, Value] | None:
        """A configuration that was not tried yet; None when the space has no other."""
        size = self._size()
        if size is not None and len(self._seen) >= size:
            return None
        if self._walk and self._seen:
            self._study.enqueue_trial(next(self._untried()))
        params = self._ask(number)
        if _key(params) in self._seen:
            self._study.tell(self._trials.pop(number), state=TrialState.FAIL)
            self._study.enqueue_trial(self._another())
            params = self._ask(number)
        self._seen.add(_key(params))
        return params

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Take a trial's metric after an epoch; True says: stop it, others do better.

        What another attempt reports of an epoch again is not taken.
        """
        trial, known = self._trials[number], self._reported.setdefault(number, set())
        if epoch in known:
            return False
        known.add(epoch)
        trial.report(value, epoch)
        return trial.should_prune()

    def finish(self, number: int, ending: Ending, score: float | None) -> None:
        """Learn how a trial ended. Infeasible counts as worst, failed as never tried."""
        trial = self._trials.pop(number)
        self._reported.pop(number, None)
        if ending == "completed" and score is not None:
            self._study.tell(trial, score)
        else:
            self._study.tell(trial, state=_STATES[ending])

    def _ask(self, number: int) -> dict[str, Value]:
        trial = self._trials[number] = self._study.ask(self._distributions)
        return {name: trial.params.get(name, self._fixed.get(name)) for name in self._domains}

    def _size(self) -> int | None:
        sizes = [space.size(domain) for domain in self._open.values()]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else None

    def _another(self) -> dict[str, Value]:
        """A configuration that was not tried: drawn at random, or found by walking the space."""
        for _ in range(DRAWS):
            params = {name: _draw(domain, self._random) for name, domain in self._open.items()}
            if _key({**self._fixed, **params}) not in self._seen:
                return params
        return next(self._untried())

    def _untried(self) -> Iterator[dict[str, Value]]:
        names = list(self._open)
        for values in itertools.product(*(_values(self._open[name]) for name in names)):
            params = dict(zip(names, values, strict=True))
            if _key({**self._fixed, **params}) not in self._seen:
                yield params

    def _recall(self, number: int, params: Mapping[str, Value]) -> None:
        """Take back a suggestion that was made before but not run to its end."""
        self._seen.add(_key(params))
        self._study.enqueue_trial({name: params[name] for name in self._open})
        self._ask(number)

    def _replay(self, trial: Tried) -> None:
        """Live through a trial again, so that sampler and pruner remember it."""
        self._recall(trial.number, trial.params)
        for epoch, value in trial.reports.items():
            self.report(trial.number, epoch, value)
        self.finish(trial.number, trial.ending, trial.score)


_STATES = {
    "completed": TrialState.FAIL,  # without a score
    "pruned": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,  # pruned without a value ranks below every other
    "failed": TrialState.FAIL,
}


def _draw(domain: Domain, source: random.Random) -> Value:
    match domain:
        case Log(low, high):
            return math.exp(source.uniform(math.log(low), math.log(high)))
        case Uniform(low, high):
            return source.uniform(low, high)
        case Int(low, high):
            return source.randint(low, high)
        case _:
            return source.choice(space.extremes(domain))


def grid(domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Replace each continuous range by GRID_POINTS values, evenly spread on its own scale."""
    return {name: _points(domain) for name, domain in domains.items()}


def _points(domain: Domain) -> Domain:
    steps = [step / (GRID_POINTS - 1) for step in range(GRID_POINTS)]
    match domain:
        case Log(low, high):
            return Choice((*(low * (high / low) ** step for step in steps[:-1]), high))
        case Uniform(low, high):
            return Choice((*(low + (high - low) * step for step in steps[:-1]), high))
        case _:
            return domain


def _key(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _values(domain: Domain) -> tuple[Value, ...]:
    return (
        tuple(range(domain.low, domain.high + 1))
        if isinstance(domain, Int)
        else (space.extremes(domain))
    )


def _distribution(domain: Domain) -> BaseDistribution:
    match domain:
        case Log(low, high):
            return FloatDistribution(low, high, log=True)
        case Uniform(low, high):
            return FloatDistribution(low, high)
        case Int(low, high):
            return IntDistribution(low, high)
        case Choice(values):
            return CategoricalDistribution(values)
        case Fixed(value):
            return CategoricalDistribution((value,))


def _sampler(name: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, warn_independent_sampling=False
            )
        case "gp":
            _require_torch()
            return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random" | "grid":  # the grid is walked by us, so that it goes on after a resume
            return optuna.samplers.RandomSampler(seed=seed)


def _require_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise UsageError(
            "the gp sampler needs PyTorch, which is not installed; nothing was started",
            "pip install 'orch-sweeps[gp]', or --sampler tpe",
        )


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    match name:
        case "none":
            return optuna.pruners.NopPruner()
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(FIRST_RUNG, KEPT)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(FIRST_RUNG, reduction_factor=KEPT)
        case "median":
            return optuna.pruners.MedianPruner(n_warmup_steps=FIRST_RUNG)
