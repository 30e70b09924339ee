"""Ray. Nothing outside this package imports it.

Ray Tune dispatches trials to workers that live as long as the sweep; every decision (what to
try, what to stop, when to end) is asked of a `Director`, and everything that happens is told
to it. Tune's own state is never read back. `connection` needs Ray alone, so that Ray can start
while `dispatch` still imports Tune.
"""

from __future__ import annotations

import os
from pathlib import Path

# Read by Ray when it is imported; its own log flood stays in files.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
}
for _name, _text in QUIET.items():
    os.environ.setdefault(_name, _text)
# A cluster started with `ray start` asks for the token that lies here; without this, a driver
# that names the cluster's address does not send it (Ray's documentation, "Token authentication").
if (Path.home() / ".ray" / "auth_token").exists() or "RAY_AUTH_TOKEN" in os.environ:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
