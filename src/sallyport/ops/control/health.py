"""Routes that ask for no token: /healthz and /readyz for who restarts or routes, /metrics."""

from collections.abc import Awaitable
from typing import Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sallyport.ops.control.schema import Health

_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"


class Observed(Protocol):
    """A gateway that is looked at."""

    def health(self) -> Awaitable[Health]:
        """Return whether clients can be served."""

    def metrics(self) -> Awaitable[bytes]:
        """Return all metrics as text."""


def health_routes(gateway: Observed) -> list[Route]:
    """Return the routes; they name no host, client or user."""

    async def is_alive(_request: Request) -> Response:
        return _json(Health(ready=True, why=[]), 200)

    async def is_ready(_request: Request) -> Response:
        health = await gateway.health()
        return _json(health, 200 if health.ready else 503)

    async def metrics(_request: Request) -> Response:
        return Response(await gateway.metrics(), headers={"content-type": _TEXT_FORMAT})

    return [
        Route("/healthz", is_alive),
        Route("/readyz", is_ready),
        Route("/metrics", metrics),
    ]


def _json(document: Health, status: int) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
