"""A service that commands ask, in the test's process."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from api_client import TOKEN, Api, api
from in_process import listening

from orch.home import Home


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Api]:
    """A service with a home of its own, which ORCH_URL names."""
    with api(Home(tmp_path / "server")) as found, listening(found.application) as url:
        monkeypatch.setenv("ORCH_URL", url)
        monkeypatch.setenv("ORCH_TOKEN", TOKEN)
        yield found
