from __future__ import annotations

import pytest

from orch import registry
from orch.testing import StrategyContract


@pytest.mark.parametrize("_strategy", registry.strategy_names(), indirect=True)
class TestBuiltIn(StrategyContract):
    @pytest.fixture(autouse=True)
    def _strategy(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param
