"""An application of the service on a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

import uvicorn

from orch.service import serve
from orch.settings import Settings


@contextmanager
def listening(application: Any) -> Generator[str]:
    """Serve it as `orch serve` listens; yields its URL."""
    with closing(serve._listening(Settings(port=0))) as sock:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield serve.address("127.0.0.1", sock)
        server.should_exit = True
        thread.join()
