"""How a cluster is divided between trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orch.cluster.slots import Demand, Slots, divide
from orch.cluster.worker import Setting, Steps, Worker
from orch.errors import ClusterError, UsageError
from orch.home import Home
from orch.training import snapshots
from orch.training.workbench import Keeping
from orch.trials import EpochReport, Objective, TrialSpec

GIB = 2**30
SPEC = TrialSpec(
    sweep="test",
    number=0,
    dataset="digits",
    dataset_options={},
    dataset_digest="",
    limit=None,
    backbone="vgg-mini",
    weights_digest="",
    strategy="fine-tune",
    params={},
    objective=Objective(),
    seed=0,
)


@pytest.mark.parametrize(
    ("cpus", "gpus", "demand", "trials", "expected"),
    [
        (2, 0, Demand(), 50, Slots(2, 1, 0, False)),
        (2, 0, Demand(), 1, Slots(1, 2, 0, False)),
        (2, 0, Demand(concurrent=1), 50, Slots(1, 2, 0, False)),
        (16, 0, Demand(), 50, Slots(8, 2, 0, False)),
        (16, 0, Demand(cpus_per_trial=4), 50, Slots(4, 4, 0, False)),
        (16, 0, Demand(concurrent=2, cpus_per_trial=4), 50, Slots(2, 4, 0, True)),
        (16, 4, Demand(), 50, Slots(4, 4, 1, False)),
        (16, 4, Demand(gpus_per_trial=0.5), 50, Slots(8, 2, 0.5, False)),
        (16, 4, Demand(concurrent=2), 50, Slots(2, 4, 1, True)),
        (16, 1, Demand(gpus_per_trial=0), 50, Slots(8, 2, 0, False)),
        (1, 8, Demand(), 50, Slots(1, 1, 1, False)),
    ],
)
def test_trials_share_gpus_or_else_cores(
    cpus: int, gpus: float, demand: Demand, trials: int, expected: Slots
) -> None:
    assert divide(cpus, gpus, 64 * GIB, demand, trials) == expected


def test_memory_bounds_the_workers() -> None:
    assert divide(16, 0, 6 * GIB, Demand(), 50).concurrent == 3
    assert divide(16, 0, 1 * GIB, Demand(), 50).concurrent == 1


@pytest.mark.parametrize("demand", [Demand(gpus_per_trial=2), Demand(cpus_per_trial=9)])
def test_asking_for_more_than_there_is(demand: Demand) -> None:
    with pytest.raises(UsageError, match=r"asks for .* the cluster has 1 and 8") as caught:
        divide(8, 1, 64 * GIB, demand, 50)
    assert caught.value.exit_code == 2


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    from orch.cluster.connection import connecting

    with (
        pytest.raises(ClusterError, match=r"127.0.0.1:9 did not answer") as caught,
        connecting("127.0.0.1:9", tmp_path, lambda error: None) as connected,
    ):
        connected()
    assert caught.value.exit_code == 7
    assert "--ray-address" in caught.value.hint


def test_a_trial_stopped_for_others_leaves_no_snapshot(tmp_path: Path) -> None:
    """A trial that is closed saves itself; that it will not go on is known when another begins."""
    home = Home(tmp_path)
    home.running.mkdir(parents=True)

    def trainer(spec: TrialSpec, home: Home) -> Steps:
        file = snapshots.path(home.running, spec.id)
        try:
            while True:
                yield EpochReport(1, 1, {}, 0.0)
        finally:
            file.write_bytes(b"saved")

    setting = Setting(home, 1, Keeping(), {}, trainer)
    first, second = (replace(SPEC, number=number) for number in (0, 1))
    worker = object.__new__(Worker)
    worker.setup({"spec": first}, setting)
    worker.step()
    worker.reset_config({"spec": second})
    assert list(home.running.iterdir()) == []
    worker.step()
    worker.cleanup()  # paused: it may go on later
    assert list(home.running.iterdir()) == [snapshots.path(home.running, second.id)]
