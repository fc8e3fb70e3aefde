"""The page as one file: template, style, script and data, under a policy that lets nothing else in or out.

The browser is told by a Content-Security-Policy to run only the script and the style whose hashes stand there, and to
ask nothing of anybody. The data is JSON in an element that is never run; the script puts text from models on the page
through `textContent` alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    *("estimators.js", "dom.js", "charts.js", "passk.js", "problems.js", "groups.js", "training.js", "audits.js"),
    *("about.js", "start.js"),
)
"""The parts of the script, in the order in which they need one another."""
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(data: Mapping[str, Any]) -> bytes:
    """The page that shows `data`; equal data give equal bytes."""
    script, style = script_text(), _asset("page.css")
    parts = {
        "TITLE": html.escape(str(data["title"])),
        "POLICY": html.escape(policy(), quote=True),
        "STYLE": style,
        "DATA": embedded(data),
        "SCRIPT": script,
    }
    text = _asset("template.html")
    pieces = text.split("%%")
    # Odd pieces are names; one pass, so that nothing in the data can be taken for a place to fill.
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces)).encode(
        "utf-8", "replace"
    )


def policy() -> str:
    """The Content-Security-Policy: our script, our style, nothing from anywhere."""
    script, style = (_hash(text) for text in (script_text(), _asset("page.css")))
    return (
        f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
        "base-uri 'none'; form-action 'none'"
    )


def script_text() -> str:
    """The script, all parts in one function so that nothing of it is global."""
    body = "\n".join(_asset(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


def embedded(data: Any) -> str:
    """JSON that may stand inside an element: no character in it can end the element or begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPED)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
