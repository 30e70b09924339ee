"""How a route gets what it works with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from orch.service.state import Service


async def of_request(request: Request) -> Service:
    """The service that the application was made for."""
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(of_request)]
