"""What a person sees: the page at `/`, and the API's documentation. One file each, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment

_WEB = resources.files("stp.service") / "web"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def add_pages(app: FastAPI) -> None:
    """Adds both pages, each with a policy that runs its own script and no other."""
    page = (_WEB / "index.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return _with_policy(page)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        template = (_WEB / "docs.html").read_text(encoding="utf-8")
        return _with_policy(Environment(autoescape=True).from_string(template).render(api=app.openapi()))


def _with_policy(page: str) -> HTMLResponse:
    sources = {"script": "", "style": ""}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[kind] += f" 'sha256-{digest}'"
    allowed = "; ".join(f"{kind}-src{source}" for kind, source in sources.items() if source)
    policy = f"default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; {allowed}"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})
