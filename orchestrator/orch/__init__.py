"""orch finds out, by sweep, how best to fine-tune a pretrained network on your own data."""

from __future__ import annotations

__version__ = "0.1.0"
