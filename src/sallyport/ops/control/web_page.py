"""The web page of the admin API: files of this package, which hold nothing about a gateway."""

from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}

# The page is one origin by itself: nothing is loaded from elsewhere, embedded, or run in line.
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none';"
    " base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def page_routes() -> list[Route]:
    """Return the routes; who may ask for data is asked with each request for some."""
    folder = files("sallyport.ops.control").joinpath("page")
    names = [one.name for one in folder.iterdir() if one.name.rpartition(".")[2] in _TYPES]
    return [_route("/" if name == "index.html" else f"/page/{name}", name) for name in names]


def _route(path: str, name: str) -> Route:
    async def answer(_request: Request) -> Response:
        content = files("sallyport.ops.control").joinpath("page", name).read_bytes()
        return Response(
            content, headers={**_HEADERS, "content-type": _TYPES[name.rpartition(".")[2]]}
        )

    return Route(path, answer)
