"""A home with the digits in it, one for each module of tests, and what a worker has of it."""

from __future__ import annotations

import pytest

from orch import installing
from orch.home import Home
from orch.testing import silent
from orch.training.workbench import Workbench


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("home"))
    made.create()
    installing.install(made, "digits", None, silent)
    return made


@pytest.fixture(scope="module")
def bench(home: Home) -> Workbench:
    return Workbench(home)
