"""A network between a client and PostgreSQL that can lose the answer to one commit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


class LossyNetwork:
    """Forwards connections of a local port to a server's socket; `lose_answer` arms it."""

    def __init__(self, server: Path) -> None:
        self._server = str(server / ".s.PGSQL.5432")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.lost = 0

    def lose_answer(self) -> None:
        """Let the next COMMIT reach the server, and lose the connection before it answers."""
        self._armed.set()

    def serve(self) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                muted = threading.Event()
                for work in (self._forward, self._answer):
                    threading.Thread(target=work, args=(client, server, muted), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _forward(
        self, client: socket.socket, server: socket.socket, muted: threading.Event
    ) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(65536):
                loses = self._armed.is_set() and b"COMMIT" in data
                if loses:
                    muted.set()
                server.sendall(data)
                if loses:
                    self._armed.clear()
                    self.lost += 1
                    time.sleep(0.3)  # the server commits
                    client.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not muted.is_set():
                    client.sendall(data)


@contextmanager
def lossy_network(server: Path) -> Generator[LossyNetwork]:
    """A network that lasts as long as the block."""
    network = LossyNetwork(server)
    threading.Thread(target=network.serve, daemon=True).start()
    try:
        yield network
    finally:
        network.close()
