"""The studio page: the files of `serve/web`, under a policy that lets them load nothing from anywhere else."""

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from tdmm_lm import bundle
from tdmm_lm.serve.errors import ApiError

if TYPE_CHECKING:
    from tdmm_lm.serve.server import Server

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "referrer-policy": "no-referrer", "cache-control": "no-cache",
    "permissions-policy": "camera=(self), microphone=()",
}
KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html",
         ".svg": "image/svg+xml"}
MISSING = "The studio's three.js is not there yet: run `make studio` (it needs npm). The API works without it."


def router(server: "Server") -> APIRouter:
    """``GET /`` and ``/studio/...``."""
    routes, root = APIRouter(include_in_schema=False), bundle.path("serve/web").resolve()

    @routes.get("/")
    async def home() -> Response:
        return RedirectResponse("/studio/", headers=HEADERS)

    @routes.get("/studio/{name:path}")
    async def file(name: str) -> Response:
        if not (root / "vendor").is_dir():
            return PlainTextResponse(MISSING, 503, HEADERS)
        path = (root / (name or "index.html")).resolve()
        if not path.is_relative_to(root) or not path.is_file() or _hidden(path.relative_to(root)):
            raise ApiError(404, "No such page.", code="not_found")
        kind = KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(path, media_type=kind, headers=HEADERS)

    return routes


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "node_modules" for part in path.parts)
