"""The studio page's files: their types, policy and caching; nothing outside of them."""

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

from tdmm_lm import bundle
from tdmm_lm.serve import web
from tdmm_lm.serve.errors import ApiError


def served(root):
    app = FastAPI()

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status)

    app.include_router(web.router(None, root))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "web"
    for name in ("vendor/three.module.js", "js/main.js", "css/frame.css", "icon.svg", "package.json", "vendor.mjs",
                 "node_modules/three/three.js", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "secret.js").write_text("secret")
    (folder / "js" / "away.js").symlink_to(tmp_path / "secret.js")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    {"": "text/html", "index.html": "text/html", "js/main.js": "text/javascript", "css/frame.css": "text/css",
     "icon.svg": "image/svg+xml", "vendor/three.module.js": "text/javascript"}.items(),
)
def test_files_have_their_type_and_the_policy(root, name, kind):
    answer = served(root).get(f"/studio/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == kind
    assert answer.headers["content-security-policy"] == web.POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


def test_the_policy_lets_nothing_in_from_elsewhere():
    rules = dict(rule.strip().split(" ", 1) for rule in web.POLICY.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in web.POLICY


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "package.json", "vendor.mjs", "node_modules/three/three.js", ".hidden", "js", "js/away.js",
     "%2e%2e/secret.js", "..%2fsecret.js", "js/%2e%2e/%2e%2e/secret.js", "/etc/hostname", "a%00.js", f"{'x' * 300}.js"],
)
def test_nothing_else_is_served(root, name):
    answer = served(root).get(f"/studio/{name}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_an_unchanged_file_is_not_sent_again(root):
    client = served(root)
    tag = client.get("/studio/js/main.js").headers["etag"]
    again = client.get("/studio/js/main.js", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    (root / "js" / "main.js").write_text("changed")
    assert client.get("/studio/js/main.js", headers={"if-none-match": tag}).text == "changed"


def test_the_root_leads_to_the_page(root):
    answer = served(root).get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "studio/")
    assert served(root).get("/").text.startswith("<!doctype html>")


def test_a_page_that_is_not_built_says_how(root):
    (root / "vendor" / "three.module.js").unlink()
    answer = served(root).get("/")
    assert answer.status_code == 503
    assert "make studio" in answer.text


SOURCES = [path for path in sorted(bundle.path("serve/web").rglob("*.*"))
           if path.suffix in {".js", ".html"} and not {"vendor", "node_modules"} & set(path.parts)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_our_sources_hold_no_markup_from_strings_and_no_foreign_addresses(path):
    text = path.read_text()
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
                   "style=\"", "onclick=\"", "<style", "//cdn", "importmap"):
        assert danger not in text, danger
    assert "https://" not in text
    assert text.count("\n") <= 400
    assert text.startswith(("//", "<!doctype html>\n<!--")), "a file says its job first"
