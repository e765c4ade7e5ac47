"""The studio page: the files of `serve/web`, under a policy that lets them load nothing from anywhere else."""

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

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
    "x-content-type-options": "nosniff", "permissions-policy": "camera=(self), microphone=()",
}
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}  # all there are
MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>tdmm studio</title>
<h1>The studio is not built</h1><p>Run <code>make studio</code> (it needs node and npm) and load this page again.
The API works without it.</p></html>"""


def router(server: "Server", root: Path | None = None) -> APIRouter:
    """``GET /`` and ``/studio/...``; ``root`` is the page's folder, the bundled one where it is None."""
    routes = APIRouter(include_in_schema=False)
    root = (bundle.path("serve/web") if root is None else root).resolve()

    @routes.get("/")
    def home() -> Response:
        return RedirectResponse("studio/", headers=HEADERS)  # relative: it holds behind a proxy's prefix too

    @routes.get("/studio/{name:path}")
    def file(name: str, request: Request) -> Response:
        if not (root / "vendor" / "three.module.js").is_file():
            return HTMLResponse(MISSING, 503, HEADERS)
        path = _inside(root, name or "index.html")
        about = path.stat()
        tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={**HEADERS, "etag": tag})
        return FileResponse(path, media_type=KINDS[path.suffix], headers={**HEADERS, "etag": tag}, stat_result=about)

    return routes


def _inside(root: Path, name: str) -> Path:
    """A file of the page; links and dots that lead out of its folder lead nowhere.

    Raises:
        ApiError: 404 for anything else.
    """
    try:
        path = (root / name).resolve()
        shown = path.is_relative_to(root) and path.suffix in KINDS and path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        shown = False
    if not shown or "node_modules" in path.relative_to(root).parts:
        raise ApiError(404, "No such page.", code="not_found")
    return path
