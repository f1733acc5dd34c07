"""HTML pages, with headers that keep other sites and injected scripts out."""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.responses import HTMLResponse

# Headers of every response that a browser might show.
GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"

_SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL)
_STYLE = re.compile(r"<style[^>]*>(?P<text>.*?)</style>", re.DOTALL)
_FROM_ELSEWHERE = re.compile(r"""<(?:script|link)\b[^>]*?\b(?:src|href)="(https://[^/"]+)/""", re.DOTALL)


class Page:
    """One page with a content security policy that allows only the page's own scripts and styles.

    Args:
        allow_styles: allow any style, for a page whose scripts write styles.
    """

    def __init__(self, html: str, *, styles_at_will: bool = False) -> None:
        self.html = html
        hosts = sorted(set(_FROM_ELSEWHERE.findall(html)))
        scripts = [_digest(found["text"]) for found in _SCRIPT.finditer(html) if found["text"].strip()]
        styles = ["'unsafe-inline'"] if styles_at_will else [_digest(found["text"]) for found in _STYLE.finditer(html)]
        directives = {
            "default-src": ["'none'"],
            "script-src": [*scripts, *hosts],
            "style-src": [*styles, *hosts],
            "font-src": ["data:", *hosts],
            # Images may come from a CDN.
            "img-src": ["'self'", "data:", "http:", "https:"],
            "connect-src": ["'self'"],
            "base-uri": ["'none'"],
            "form-action": ["'none'"],
            "frame-ancestors": ["'none'"],
        }
        self.policy = "; ".join(" ".join([name, *sources]) for name, sources in directives.items())

    def answer(self) -> HTMLResponse:
        """Return the page."""
        return HTMLResponse(self.html, headers=GUARDED | {"Content-Security-Policy": self.policy})


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
