"""What a model trains on and is judged by: decoded examples, or features at a cut.

Each is an array in the store, found by what it was computed from; what is there is not
computed again, whichever trial, sweep or process made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from orch.contracts import BackboneFacts, Plan, Split
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
    facts: BackboneFacts

    def affordable(self, cut: Cut, roles: Sequence[Selection]) -> Cut:
        """The cut, or none where features that are not stored yet would crowd the disk."""
        if not cut.layers:
            return cut
        missing = [r for r in roles if not self.bench.store.has(self._key(r, cut))]
        count = sum(len(role.indices) for role in missing)
        needed = count * models.feature_bytes(self.network, cut, self.plan.head)
        free = self.bench.free_bytes()
        if needed * DISK_SHARE <= free:
            return cut
        return Cut.none(f"its features take {needed:,} bytes of {free:,} that are free")

    def read(self, chosen: Selection, cut: Cut, wanted: Sequence[Cut] = ()) -> Examples:
        """The chosen examples as a model behind `cut` reads them.

        What is missing is computed from the deepest shallower cut that is in the store, or is
        among those `wanted` by the same trial, and is then computed first.
        """
        split = self._splits[chosen.split]
        layers = frozenset(each.layers for each in wanted)
        inputs = self._features(chosen, cut, layers) if cut.layers else self._decoded(chosen)[1]
        return Examples(inputs, examples.labels(split, chosen))

    @property
    def _splits(self) -> Mapping[str, Split]:
        spec = self.spec
        return self.bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)

    def _decoded(self, chosen: Selection) -> tuple[dict[str, Any], NDArray[Any]]:
        return examples.decoded(
            self.bench.store,
            self.spec.dataset,
            self.spec.dataset_digest,
            self._splits[chosen.split],
            chosen,
            self.plan.image.size,
        )

    def _features(self, chosen: Selection, cut: Cut, wanted: frozenset[int]) -> NDArray[Any]:
        shape = self._shape(cut)

        def fill(out: NDArray[Any]) -> None:
            start = self._start(chosen, cut, wanted)
            source = self._features(chosen, start, wanted) if start else self._decoded(chosen)[1]
            before = start.layers if start else 0
            model = models.between(self.network, self.spec.backbone, self.plan, before, cut)
            for row in range(0, len(source), FILL_BATCH):
                part = source[row : row + FILL_BATCH]
                out[row : row + len(part)] = fit.predict(model, part, FILL_BATCH)

        return self.bench.store.get_or_build(
            self._key(chosen, cut), (len(chosen.indices), *shape), "float32", fill
        )

    def _start(self, chosen: Selection, cut: Cut, wanted: frozenset[int]) -> Cut | None:
        """The cut whose features a deeper one is computed from; None starts at the examples."""
        for layers in reversed(self.facts.cuts):
            shallower = Cut(layers, self.facts.layers[layers - 1].name, "on the way")
            if 0 < layers < cut.layers and (
                layers in wanted or self.bench.store.has(self._key(chosen, shallower))
            ):
                return shallower
        return None

    def _shape(self, cut: Cut) -> tuple[int, ...]:
        return models.feature_shape(self.network, cut, self.plan.head)

    def _key(self, chosen: Selection, cut: Cut) -> dict[str, Any]:
        import keras

        backend = keras.backend.backend()
        early = models.pooled_early(self.network, cut, self.plan.head)
        return {
            "what": "features",
            "of": self._decoded(chosen)[0],
            "backbone": self.spec.backbone,
            "weights": self.spec.weights_digest,
            "upsample": self.plan.image.upsample,
            "cut": cut.layers,
            "pooling": self.plan.head.pooling if early else "none",
            "shape": list(self._shape(cut)),
            "keras": [keras.__version__, backend, version(backend)],
        }
