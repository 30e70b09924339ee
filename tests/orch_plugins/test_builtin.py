from __future__ import annotations

import pytest

from orch import registry
from orch.testing import StrategyContract


@pytest.mark.parametrize("_strategy", registry.strategy_names(), indirect=True)
class TestBuiltIn(StrategyContract):
    @pytest.fixture(autouse=True)
    def _strategy(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param


def test_those_that_come_with_orch_are_found() -> None:
    assert {"feature-extraction", "fine-tune"} <= set(registry.strategy_names())
