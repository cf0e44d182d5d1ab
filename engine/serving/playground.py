"""The page at ``/``: static files that ask for no key, as they hold nothing of the server.

The page itself asks the server as any client does, with the key that its user gives it.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fastapi import Request, Response

if TYPE_CHECKING:
    from fastapi import FastAPI

_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/playground/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/playground/page.css": ("page.css", "text/css; charset=utf-8"),
    "/playground/icon.svg": ("icon.svg", "image/svg+xml"),
}
PATHS: Final = frozenset(_FILES)
"""The paths of the page and of what it consists of."""

_HEADERS: Final = {
    # Nothing comes from elsewhere, nothing goes elsewhere, and no other page shows this one in a frame.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Serve the page, which is read once."""
    for path, (name, media_type) in _FILES.items():
        _add_file(app, path, files("engine.playground").joinpath("static", name).read_bytes(), media_type)


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    headers = {**_HEADERS, "ETag": f'"{sha256(content).hexdigest()[:32]}"'}

    @app.get(path, include_in_schema=False)
    async def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)
