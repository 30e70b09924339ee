"""What a model trains on and is judged by: decoded examples, or features at a cut.

Each is an array in the store, found by what it was computed from; what is there is not
computed again, whichever trial, sweep or process made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from orch.contracts import Plan
from orch.training import examples, fit, models
from orch.training.cuts import Cut
from orch.training.examples import Selection
from orch.training.fit import Examples
from orch.training.workbench import Workbench
from orch.trials import TrialSpec

FILL_BATCH = 64  # examples per step when features are computed
DISK_SHARE = 5  # one stored array may take a fifth of the free disk


@dataclass(frozen=True)
class Reader:
    """Reads the inputs of one trial's models; `network` holds the published weights.

    What is missing is computed when it is asked for, so all must be read before anything
    trains.
    """

    spec: TrialSpec
    bench: Workbench
    plan: Plan
    network: Any

    def affordable(self, cut: Cut, count: int) -> Cut:
        """The cut, or none where the features of `count` examples would crowd the disk."""
        if not cut.layers:
            return cut
        needed = count * models.feature_bytes(self.network, cut, self.plan.head)
        free = self.bench.free_bytes()
        if needed * DISK_SHARE <= free:
            return cut
        return Cut(0, "none", f"its features take {needed:,} bytes of {free:,} that are free")

    def read(self, chosen: Selection, cut: Cut, passed: Sequence[Cut] = ()) -> Examples:
        """The chosen examples as a model behind `cut` reads them.

        `passed` are shallower cuts that the trial needs too: the deepest of them is computed
        first and gone on from.
        """
        spec = self.spec
        split = self.bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)[
            chosen.split
        ]
        inputs = self._features(chosen, cut, passed) if cut.layers else self._decoded(chosen)[1]
        return Examples(inputs, examples.labels(split, chosen))

    def _decoded(self, chosen: Selection) -> tuple[dict[str, Any], NDArray[Any]]:
        spec = self.spec
        splits = self.bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
        return examples.decoded(
            self.bench.store,
            spec.dataset,
            spec.dataset_digest,
            splits[chosen.split],
            chosen,
            self.plan.image.size,
        )

    def _features(self, chosen: Selection, cut: Cut, passed: Sequence[Cut]) -> NDArray[Any]:
        shape = models.feature_shape(self.network, cut, self.plan.head)
        key, _ = self._decoded(chosen)
        before = [each for each in passed if 0 < each.layers < cut.layers]
        nearest = max(before, key=lambda each: each.layers, default=None)

        def fill(out: NDArray[Any]) -> None:
            start = nearest.layers if nearest else 0
            source = (
                self._features(chosen, nearest, before) if nearest else self._decoded(chosen)[1]
            )
            model = models.between(self.network, self.spec.backbone, self.plan, start, cut)
            for row in range(0, len(source), FILL_BATCH):
                part = source[row : row + FILL_BATCH]
                out[row : row + len(part)] = fit.predict(model, part, FILL_BATCH)

        return self.bench.store.get_or_build(
            {**self._key(cut), "of": key, "shape": list(shape)},
            (len(chosen.indices), *shape),
            "float32",
            fill,
        )

    def _key(self, cut: Cut) -> dict[str, Any]:
        import keras

        backend = keras.backend.backend()
        early = models.pooled_early(self.network, cut, self.plan.head)
        return {
            "what": "features",
            "backbone": self.spec.backbone,
            "weights": self.bench.weights(self.spec.backbone).digest,
            "upsample": self.plan.image.upsample,
            "cut": cut.layers,
            "pooling": self.plan.head.pooling if early else "none",
            "keras": [keras.__version__, backend, version(backend)],
        }
