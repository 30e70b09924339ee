"""The images that orch would train on and judge by, decoded, for those that cannot decode."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from orch import catalog
from orch.home import Home
from orch.training import examples


def main() -> None:
    home, target, limit, size = (
        Home(Path(sys.argv[1])),
        sys.argv[2],
        int(sys.argv[3]),
        int(sys.argv[4]),
    )
    splits = catalog.open_splits(home, "cats-vs-dogs")
    arrays = {}
    for chosen in examples.select(splits, limit):
        split = splits[chosen.split]
        whole = examples.decode("cats-vs-dogs", split, chosen, (size, size), 0, len(chosen.indices))
        arrays[f"{chosen.role}_x"] = whole
        arrays[f"{chosen.role}_y"] = examples.labels(split, chosen)
    np.savez(target, **arrays)


if __name__ == "__main__":
    main()
