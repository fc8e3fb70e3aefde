"""The page on 127.0.0.1, made anew when the runs have changed. It reads the runs and writes nothing.

Only this machine can reach it, and only by a name of this machine: a page of another site that has its name point to
127.0.0.1 is refused by its Host header.
"""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from rsgrpo_cli.errors import RsgrpoError, UsageError
from rsgrpo_cli.report.html.page import policy
from rsgrpo_cli.wording import raised

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
"""How a browser on this machine may call the server."""
Signature = tuple[tuple[str, int, int], ...]


class PageServer(ThreadingHTTPServer):
    """Serves one page.

    Args:
        make: Makes the page.
        runs: Directories of the runs; the page is made again when a file in them has changed.
        port: The port; 0 for a free one.
        say: Takes a line about a request that went wrong.

    Raises:
        UsageError: If the port is taken.
    """

    daemon_threads = True

    def __init__(
        self, make: Callable[[], bytes], runs: Sequence[Path], port: int = 0, say: Callable[[str], None] = print
    ) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on port {port}: {error}", "leave --port out for a free one") from error
        self._make, self._runs, self._say = make, list(runs), say
        self._lock, self._made = Lock(), (None, b"")  # type: tuple[Lock, tuple[Signature | None, bytes]]

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that has gone is no error; anything else is said, and the server goes on."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self._say(f"the page could not be sent: {raised(type(error).__name__, error)}")

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def page(self) -> bytes:
        """The page as the runs are now.

        Raises:
            RsgrpoError: If it cannot be made.
        """
        with self._lock:
            now = tuple(entry for run in self._runs for entry in _files(run))
            if self._made[0] != now:
                self._made = (now, self._make())
            return self._made[1]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 60  # seconds that a browser may take to ask
    server_version, sys_version = "rsgrpo", ""

    def do_GET(self) -> None:
        """Answer with the page."""
        if not _is_ours(self.headers.get("Host", ""), self.server.server_address[1]):
            self._answer(403, _plain("this page is only for this machine", f"open {self.server.url}"))
        elif self.path.partition("?")[0] != "/":
            self._answer(404, _plain("there is one page here", f"open {self.server.url}"))
        else:
            self._page()

    do_HEAD = do_GET

    def _page(self) -> None:
        try:
            page = self.server.page()
        except RsgrpoError as error:
            self._answer(500, _plain(error.message, error.hint))
            return
        except OSError as error:  # a run at work replaces files
            self._answer(500, _plain(f"a file changed while it was read: {error}", "reload the page"))
            return
        self._answer(200, page)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": policy() + "; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal has the address, and a log would only scroll it away."""


def _is_ours(host: str, port: int) -> bool:
    name, _, given = host.rpartition(":")
    return (name in NAMES and given == str(port)) or (port == 80 and host in NAMES)


def _plain(message: str, hint: str) -> bytes:
    text = f"<p>{html.escape(message)}<p>{html.escape(hint)}"
    return f"<!doctype html><meta charset=utf-8><title>rsgrpo</title>{text}".encode()


def _files(run: Path) -> list[tuple[str, int, int]]:
    """Every file of a run with its time and size; locks hold nothing that is shown."""
    found = []
    for folder, names, files in os.walk(run):
        names.sort()
        for name in sorted(files):
            if not name.endswith("lock"):
                stat = _stat(Path(folder, name))
                found += [(f"{folder}/{name}", stat.st_mtime_ns, stat.st_size)] if stat else []
    return found


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:  # a temporary file of a run at work
        return None
