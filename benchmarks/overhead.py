"""What a trial costs besides training: sweeps of trials that train next to nothing.

    python benchmarks/overhead.py --trials 10 100 500

Seconds per trial are those of the whole command, from process start to end; "marginal" is what
each trial more than the fewest cost, without starting and ending. Ray Tune takes seconds for each
trial, so it runs fewer of them, unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workload import machine, table

HERE = Path(__file__).parent
ORCH = ("sweep", "digits", "--strategy", "feature-extraction", "--limit", "200", "--pruner", "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--most-default", type=int, default=10, help="trials of Ray Tune's default")
    parser.add_argument("--most-reuse", type=int, default=100, help="trials of its reuse_actors")
    options = parser.parse_args()
    rows = [["arm", "trials", "seconds", "seconds per trial", "marginal"]]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        _orch(name, 2)  # installs digits and fills the store
        most_of = {
            "ray-tune default": options.most_default,
            "ray-tune reuse_actors": options.most_reuse,
            "orch": max(options.trials),
        }
        for arm, most in most_of.items():
            counts = [each for each in sorted(options.trials) if each <= most]
            rows += _rows(arm, [(each, _seconds(arm, name, each)) for each in counts])
    print(f"\n{machine()}\n\n{table(rows)}")


def _rows(arm: str, found: list[tuple[int, float]]) -> list[list[str]]:
    rows: list[list[str]] = []
    for trials, seconds in found:
        more = trials - found[0][0]
        marginal = f"{(seconds - found[0][1]) / more:.3f}" if more else "-"
        rows.append([arm, str(trials), f"{seconds:.1f}", f"{seconds / trials:.3f}", marginal])
    return rows


def _seconds(arm: str, home: str, trials: int) -> float:
    print(f"{time.strftime('%H:%M:%S')} {arm}, {trials} trials …", file=sys.stderr, flush=True)
    started = time.monotonic()
    if arm == "orch":
        _orch(home, trials)
    else:
        kind = "reuse" if arm.endswith("reuse_actors") else "default"
        script = str(HERE / "peers" / "trivial_ray_tune.py")
        _run([sys.executable, script, kind, str(trials)])
    return time.monotonic() - started


def _orch(home: str, trials: int) -> None:
    orch = str(Path(sys.executable).parent / "orch")
    words = (*ORCH, "--trials", str(trials), "-S", "epochs=1", "--keep", "0")
    _run([orch, *words], ORCH_HOME=home)


def _run(words: list[str], **environment: str) -> None:
    ran = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(f"{' '.join(words)}\n{ran.stderr[-4000:]}")


if __name__ == "__main__":
    main()
