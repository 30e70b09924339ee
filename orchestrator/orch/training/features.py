"""What a model trains on and is judged by: decoded examples, or features at a cut.

Each is an array in the store, found by what it was computed from; what is there is not
computed again, whichever trial, sweep or process made it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from orch.contracts import BackboneFacts, Plan, Split
from orch.training import cuts, examples, fit, models
from orch.training.cuts import Cut
from orch.training.examples import Selection
from orch.training.fit import Examples
from orch.training.shards import Compute, Layout
from orch.training.workbench import Workbench
from orch.trials import Filling, TrialSpec

FILL_BATCH = 32  # examples per step when features are computed


def finished(reading: Generator[Any, None, Examples]) -> Examples:
    """Read to the end, without looking at how far it has come."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


class DamagedError(Exception):
    """An array that was in the store has to be computed after all."""


class _Building:
    """A generator whose return value is kept, so that it can stand in a for loop."""

    def __init__(self, rows: Generator[int, None, NDArray[Any]]) -> None:
        self._rows = rows

    def __iter__(self) -> Generator[int, None, None]:
        self.array = yield from self._rows


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

    def affordable(self, wanted: Sequence[Cut], roles: Sequence[Selection]) -> list[Cut]:
        """Each cut, or none where its features do not fit into the store with those before it."""
        if not self.bench.keeping.features:
            return [Cut.none("ORCH_STORE_FEATURES is off")] * len(wanted)
        room = self.bench.store.room(self.spec.sweep)
        room -= sum(self._missing_examples(role) for role in roles)
        found: dict[int, Cut] = {}
        wanted = [cuts.among(cut, self.spec.stored_cuts, self.facts) for cut in wanted]
        for cut in wanted:
            if cut.layers not in found:
                needed = sum(self._missing_features(role, cut) for role in roles)
                fits = not needed or needed <= room
                found[cut.layers] = cut if fits else _no_room(needed, room)
                room -= needed if fits else 0
        return [found[cut.layers] for cut in wanted]

    def _missing_examples(self, chosen: Selection) -> int:
        size = examples.layout(chosen, self.plan.image.size).bytes
        return self.bench.store.missing(self._examples_key(chosen), size, self.spec.sweep)

    def _missing_features(self, chosen: Selection, cut: Cut) -> int:
        if not cut.layers:
            return 0
        size = len(chosen.indices) * models.feature_bytes(self.network, cut, self.plan.head)
        return self.bench.store.missing(self._key(chosen, cut), size, self.spec.sweep)

    def read(
        self, chosen: Selection, cut: Cut, wanted: Sequence[Cut] = ()
    ) -> Generator[Filling, None, Examples]:
        """The chosen examples as a model behind `cut` reads them, computing what is missing.

        Features are computed from the deepest shallower cut that is in the store, or is among
        those `wanted` by the same trial, which are then computed first.
        """
        layers = frozenset(each.layers for each in wanted)
        reading = self._features(chosen, cut, layers) if cut.layers else self._decoded(chosen)
        inputs = yield from reading
        return Examples(inputs, examples.labels(self._splits[chosen.split], chosen))

    @property
    def _splits(self) -> Mapping[str, Split]:
        spec = self.spec
        return self.bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)

    def _decoded(self, chosen: Selection) -> Generator[Filling, None, NDArray[Any]]:
        split, size = self._splits[chosen.split], self.plan.image.size

        def compute(start: int, stop: int) -> NDArray[Any]:
            beat = self.bench.watchdog.beat
            return examples.decode(self.spec.dataset, split, chosen, size, start, stop, beat)

        key, layout = self._examples_key(chosen), examples.layout(chosen, size)
        title = f"examples of {self.spec.dataset}, {chosen.role}"
        for done in (building := self._building(key, layout, compute, title)):
            yield Filling(f"decoding {chosen.role} examples", done, len(chosen.indices))
        return building.array

    def _features(
        self, chosen: Selection, cut: Cut, wanted: frozenset[int]
    ) -> Generator[Filling, None, NDArray[Any]]:
        key = self._key(chosen, cut)
        source: NDArray[Any] | None = None
        before = 0
        if not self.bench.store.has(key):
            start = self._start(chosen, cut, wanted)
            before = start.layers if start else 0
            source = yield from (
                self._features(chosen, start, wanted) if start else self._decoded(chosen)
            )
        made: list[Any] = []

        def compute(start: int, stop: int) -> NDArray[Any]:
            if source is None:  # it was there, and is damaged
                raise DamagedError
            if not made:
                made.append(
                    models.between(self.network, self.spec.backbone, self.plan, before, cut)
                )
            return fit.predict(made[0], source[start:stop], FILL_BATCH, self.bench.watchdog.beat)

        shape = (len(chosen.indices), *self._shape(cut))
        try:
            layout = Layout(shape, "float32", FILL_BATCH)
            title = f"{cut.name} of {self.spec.backbone}, {self.spec.dataset}, {chosen.role}"
            for done in (building := self._building(key, layout, compute, title)):
                yield Filling(f"computing {cut.name} of {chosen.role} examples", done, shape[0])
        except DamagedError:  # it has been set aside by now
            return (yield from self._features(chosen, cut, wanted))
        return building.array

    def _building(
        self, key: Mapping[str, Any], layout: Layout, compute: Compute, title: str
    ) -> _Building:
        return _Building(self.bench.store.build(key, layout, compute, title, self.spec.sweep))

    def _examples_key(self, chosen: Selection) -> dict[str, Any]:
        return examples.key(self.spec.dataset_digest, chosen, self.plan.image.size)

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
        early = models.pooled_early(self.network, cut, self.plan.head)
        return {
            "what": "features",
            "of": self._examples_key(chosen),
            "backbone": self.spec.backbone,
            "weights": self.spec.weights_digest,
            "upsample": self.plan.image.upsample,
            "cut": cut.layers,
            "pooling": self.plan.head.pooling if early else "none",
            "shape": list(self._shape(cut)),
            "keras": versions(),
        }


def _no_room(needed: int, room: int) -> Cut:
    return Cut.none(f"its features take {needed:,} bytes, the store has room for {max(0, room):,}")


@cache
def versions() -> list[str]:
    """Keras and what it computes with: others may round otherwise."""
    import keras

    backend = keras.backend.backend()
    return [keras.__version__, backend, version(backend)]
