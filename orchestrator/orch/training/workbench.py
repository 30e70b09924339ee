"""What one process keeps between trials: networks, traced models, open datasets and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch import catalog
from orch.contracts import Split, Value
from orch.errors import DataError
from orch.home import Home
from orch.training import backbones
from orch.training.arrays import ArrayStore
from orch.training.warm import NetworkShape, WarmModels
from orch.training.watchdog import Watchdog

MOST_NETWORKS = 4  # a search over image sizes has one for each


@dataclass(frozen=True)
class Keeping:
    """What a process leaves on disk, and how.

    The store's most bytes (0: half of the disk's room), whether what was stored is checked when
    it is opened, whether features are stored at all; and after how many seconds a running trial
    is saved again (0: after every epoch, whatever that takes).
    """

    limit: int = 0
    verify: bool = True
    features: bool = True
    checkpoint_seconds: float = 60.0


class Workbench:
    """What one process keeps between trials: networks, traced models, open datasets and arrays."""

    def __init__(self, home: Home, keeping: Keeping = Keeping()) -> None:
        self.home = home
        self.keeping = keeping
        self.watchdog = Watchdog()
        self.store = ArrayStore(home.store, keeping.verify, keeping.limit, self.watchdog.beat)
        self.models = WarmModels()
        self._networks: dict[NetworkShape, tuple[Any, list[Any]]] = {}
        self._splits: dict[str, Mapping[str, Split]] = {}

    def network(self, wanted: NetworkShape) -> Any:
        """A backbone with its published weights, whatever a trial before did to them.

        Raises:
            DataError: the weights are not there, or are others now.
        """
        found = self._networks.pop(wanted, None)
        while found is None and len(self._networks) >= MOST_NETWORKS:
            oldest = next(iter(self._networks))
            del self._networks[oldest]
            self.models.forget(oldest)
        network, published = self._networks[wanted] = found or self._loaded(wanted)
        for weight, value in zip(network.weights, published, strict=True):
            weight.assign(value)
        return network

    def clear(self) -> None:
        """Drop networks and models, where memory is short."""
        self._networks.clear()
        self.models.clear()

    def _loaded(self, wanted: NetworkShape) -> tuple[Any, list[Any]]:
        """A network and its published weights as tensors, from which they are put back fastest."""
        import keras

        name, weights = wanted.name, self.weights(wanted.name)
        if weights.digest != wanted.digest:
            raise DataError(
                f"the weights of {name} were {wanted.digest[:12]}, "
                f"now they are {weights.digest[:12]}",
                f"put the former ones back: orch backbones add {name} --from FILE",
            )
        network = backbones.load(name, wanted.size, weights)
        return network, [keras.ops.convert_to_tensor(each) for each in network.get_weights()]

    def weights(self, name: str) -> backbones.Weights:
        """Where a backbone's weights are.

        Raises:
            DataError: they are not there.
        """
        found = backbones.find_weights(self.home, name)
        if found is None:
            raise DataError(f"the weights of {name} are gone", f"orch backbones add {name}")
        return found

    def splits(self, name: str, options: Mapping[str, Value], digest: str) -> Mapping[str, Split]:
        """An installed dataset's splits, under these options.

        Raises:
            DataError: what is installed is not what the trial was made for.
        """
        installed = catalog.find(self.home, name)
        if installed is None or catalog.digest(self.home, installed, options) != digest:
            raise DataError(
                f"{name} has changed since the sweep began",
                f"orch datasets add {name}, then start a new sweep",
            )
        if digest not in self._splits:
            self._splits[digest] = catalog.open_splits(self.home, name, options)
        return self._splits[digest]
