"""A Hub of one dataset on this machine: enough of its web interface for `datasets` to load from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(folder: Path, repository: str) -> Iterator[tuple[str, list[int]]]:
    """The address of a Hub with the files of `folder` as one dataset, and the sizes of the bodies it has sent."""
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            asked = json.loads(self.rfile.read(length) or b"{}").get("paths", [])
            self.send([entry for entry in tree(folder) if entry["path"] in asked or not asked], body=True)

        def answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith(f"/api/datasets/{repository}"):
                rest = path.removeprefix(f"/api/datasets/{repository}").strip("/")
                if rest.startswith("tree"):
                    under = rest.removeprefix("tree/").partition("/")[2]
                    self.send([entry for entry in tree(folder) if entry["path"].startswith(under)], body=body)
                else:
                    siblings = [{"rfilename": entry["path"]} for entry in tree(folder) if entry["type"] == "file"]
                    self.send({"id": repository, "sha": COMMIT, "siblings": siblings, "private": False}, body=body)
                return
            prefix = f"/datasets/{repository}/resolve/"
            name = path.removeprefix(prefix).partition("/")[2]
            if path.startswith(prefix) and name and (folder / name).is_file():
                self.file(folder / name, body=body)
            else:
                self.send(
                    {"error": "Entry not found"}, status=404, body=body, headers={"X-Error-Code": "EntryNotFound"}
                )

        def file(self, path: Path, *, body: bool) -> None:
            content = path.read_bytes()
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            asked = self.headers.get("Range")
            if asked and body:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                stop = min(int(last) + 1 if last else len(content), len(content))
                headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(content)}"
                self.send(content[int(first) : stop], status=206, body=body, headers=headers)
            else:
                self.send(content, body=body, headers=headers)

        def send(self, data: Any, *, body: bool, status: int = 200, headers: dict[str, str] | None = None) -> None:
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                sent.append(len(content))
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def tree(folder: Path) -> list[dict[str, Any]]:
    """The files and folders as the Hub lists them."""
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            entries.append({"type": "directory", "path": name, "oid": "0" * 40, "size": 0})
        else:
            oid = hashlib.sha1(path.read_bytes()).hexdigest()
            entries.append({"type": "file", "path": name, "oid": oid, "size": path.stat().st_size})
    return entries
