"""`view`: the page on this machine, for this machine."""

import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.html.page import policy
from rsgrpo_cli.report.html.server import PageServer
from tests.conftest import Cli
from tests.report.html.written import ASKED, new_run


@pytest.fixture
def made() -> list[int]:
    """A number for each time that the page was made."""
    return []


@pytest.fixture
def said() -> list[str]:
    """What the server complained of."""
    return []


@pytest.fixture
def server(tmp_path: Path, made: list[int], said: list[str]) -> Iterator[PageServer]:
    (tmp_path / "run").mkdir()

    def make() -> bytes:
        made.append(len(made))
        if (tmp_path / "run" / "gone").exists():
            raise MissingError("the run is <gone>", "look again")
        if (tmp_path / "run" / "replaced").exists():
            raise FileNotFoundError("part-00000.parquet")
        if (tmp_path / "run" / "large").exists():
            return b"x" * 50_000_000
        if (tmp_path / "run" / "wrong").exists():
            raise KeyError("made")
        return b"<!doctype html>page %d" % made[-1]

    with PageServer(make, [tmp_path / "run"], say=said.append) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def get(server: PageServer, path: str = "/", host: str | None = None, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers["Content-Security-Policy"]


def test_it_listens_on_this_machine_only(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_page_is_made_again_only_when_the_run_has_changed(
    server: PageServer, made: list[int], tmp_path: Path
) -> None:
    assert get(server)[:2] == (200, "<!doctype html>page 0")
    assert get(server)[1] == "<!doctype html>page 0"
    (tmp_path / "run" / "lock").write_text("held")  # says nothing that the page shows
    assert get(server)[1] == "<!doctype html>page 0"
    (tmp_path / "run" / "metrics.parquet").write_text("new")
    assert get(server)[1] == "<!doctype html>page 1"


def test_only_a_name_of_this_machine_is_answered(server: PageServer) -> None:
    port = server.server_address[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert get(server, host=host)[0] == 200
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"localhost:{port + 1}", ""):
        status, text, _ = get(server, host=host)
        assert (status, "page 0" in text) == (403, False), host


def test_there_is_one_page_and_it_is_read_only(server: PageServer) -> None:
    assert get(server, "/?x=1")[0] == 200
    assert get(server, "/../../etc/passwd")[0] == 404
    assert get(server, method="POST")[0] == 501
    assert get(server, method="HEAD")[:2] == (200, "")
    assert get(server)[2].startswith(policy())


def test_an_error_is_a_page_that_says_so(server: PageServer, tmp_path: Path) -> None:
    (tmp_path / "run" / "gone").write_text("")
    status, text, _ = get(server)
    assert status == 500
    assert "<p>the run is &lt;gone&gt;<p>look again" in text


def test_a_file_that_is_replaced_meanwhile(server: PageServer, tmp_path: Path) -> None:
    (tmp_path / "run" / "replaced").write_text("")
    status, text, _ = get(server)
    assert (status, "a file changed while it was read" in text, "reload" in text) == (500, True, True)


def test_a_browser_that_leaves_is_no_error(
    server: PageServer, said: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "large").write_text("")
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as left:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone without a word
        left.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{server.server_address[1]}\r\n\r\n".encode())
        left.recv(1000)
    (tmp_path / "run" / "large").unlink()
    assert get(server)[0] == 200
    assert (said, capfd.readouterr().err) == ([], "")


def test_a_defect_is_one_line_and_the_server_goes_on(
    server: PageServer, said: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "wrong").write_text("")
    with pytest.raises(http.client.RemoteDisconnected):
        get(server)
    (tmp_path / "run" / "wrong").unlink()
    assert get(server)[0] == 200
    assert said == ["the page could not be sent: KeyError: 'made'"]
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken(server: PageServer) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on port {server.server_address[1]}"):
        PageServer(lambda: b"", [], server.server_address[1])


def test_a_run_that_is_not_there(cli: Cli) -> None:
    result = cli("view", "runs/none")
    assert (result.code, "no run at runs/none" in result.err) == (1, True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it(tmp_path: Path, how: signal.Signals) -> None:
    run = new_run(tmp_path / "fresh", ASKED)
    command = [sys.executable, "-m", "rsgrpo_cli", "view", str(run.path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        host, _, port = json.loads(process.stdout.readline())["url"].removeprefix("http://").rstrip("/").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", "/")
        assert b"rsgrpo eval --run" in connection.getresponse().read()
        process.send_signal(how)
        assert process.wait(20) == 0
        assert process.stderr.read() == "stopped\n"
