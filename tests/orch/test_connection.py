"""What Ray's sessions leave on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orch.cluster import connection, reaper


def session(folder: Path, owner: str | None) -> Path:
    made = folder
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "raylet.out").write_text("a line")
    if owner is not None:
        (made / connection.OWNER).write_text(owner)
    return made


@pytest.fixture
def cleared(tmp_path: Path) -> dict[str, Path]:
    """Sessions of a killed driver, of this process, of a stranger, of a damaged name, a link."""
    ray, mine = tmp_path / "ray", f"{os.getpid()} {reaper.began(os.getpid())}"
    made = {
        "killed": session(ray / "session_1", f"{os.getpid()} 1"),
        "running": session(ray / "session_2", mine),
        "stranger": session(ray / "session_3", None),
        "damaged": session(ray / "session_4", "no process"),
        "elsewhere": session(tmp_path / "elsewhere", f"{os.getpid()} 1"),
    }
    (ray / "session_5").symlink_to(made["elsewhere"])
    if os.getuid() == 0:
        os.lchown(ray / "session_5", 1, -1)
    connection._clear_up(ray, tmp_path / "kept")  # pyright: ignore[reportPrivateUsage]
    return made


def test_the_logs_of_a_killed_driver_are_kept_and_its_session_goes(
    cleared: dict[str, Path], tmp_path: Path
) -> None:
    assert not cleared["killed"].exists()
    assert (tmp_path / "kept" / "session_1" / "raylet.out").read_text() == "a line"
    assert [each.name for each in (tmp_path / "kept").iterdir()] == ["session_1"]


@pytest.mark.parametrize("whose", ["running", "stranger", "damaged"])
def test_other_sessions_stay(cleared: dict[str, Path], whose: str) -> None:
    assert (cleared[whose] / "logs" / "raylet.out").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes links that belong to others")
def test_what_another_user_links_to_stays(cleared: dict[str, Path]) -> None:
    assert (cleared["elsewhere"] / "logs" / "raylet.out").exists()
