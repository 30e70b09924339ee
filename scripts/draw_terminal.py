"""Draw what a command prints on a terminal as an SVG picture, for the README.

    python scripts/draw_terminal.py --out docs/images/leaderboard.svg -- orch leaderboard digits

`--after SECONDS` draws the screen as it is then, in the middle of a live view.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import select
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text


def shown(words: list[str], columns: int, seconds: float) -> str:
    """Run a command on a pseudo-terminal and return what it wrote, escapes included."""
    main, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(words, stdout=side, stderr=side, stdin=subprocess.DEVNULL)
    os.close(side)
    deadline, seen = time.monotonic() + seconds, b""
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(main, 1 << 16)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    process.wait()
    return seen.decode()


def screen(text: str) -> str:
    """Keep what is left on the screen after a live view was redrawn and erased."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        up = line.count("\x1b[1A")
        if up:
            del lines[len(lines) - up :]
        lines.append(line.rsplit("\x1b[2K", 1)[-1].replace("\r", ""))
    return "\n".join(lines).replace("\x1b[?25l", "").replace("\x1b[?25h", "")


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description="Draw what a command prints as an SVG.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=96)
    parser.add_argument("--after", type=float, default=600.0)
    parser.add_argument("words", nargs="+")
    options = parser.parse_args()
    text = screen(shown(options.words, options.columns, options.after)).strip("\n")
    console = Console(record=True, width=options.columns, file=io.StringIO())
    console.print(Text(f"$ {' '.join(options.words)}", style="bold"))
    console.print(Text.from_ansi(text))
    console.save_svg(str(options.out), title="orch")


if __name__ == "__main__":
    main()
