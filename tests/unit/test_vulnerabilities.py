"""Vulnerabilities: the part of `make check` that looks for them finds them, and no others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from vulnerabilities import audit

HOLE = {"id": "PYSEC-2099-1", "modified": "2026-01-01T00:00:00Z"}


@contextmanager
def osv(*, status: int = 200, vulnerable: str | None = None) -> Iterator[str]:
    """Answer as OSV does, on this machine; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["queries"]
            names = [each["package"]["name"] for each in asked]
            self._say({"results": [{"vulns": [HOLE]} if n == vulnerable else {} for n in names]})

        def do_GET(self) -> None:
            self._say({**HOLE, "summary": "anybody may enter", "affected": []})

        def _say(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_of: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_hole_in_a_dependency_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with osv(vulnerable="fastapi") as url:
        assert audit(url) == 1
    told = capsys.readouterr().err
    assert "fastapi" in told
    assert "PYSEC-2099-1: anybody may enter" in told


def test_dependencies_without_holes_pass_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with osv() as url:
        assert audit(url) == 0
    assert capsys.readouterr() == ("", "")


def test_no_way_there_is_said_in_a_line_and_is_no_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with osv() as url:
        pass  # nobody listens there any more
    assert audit(url) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "api.osv.dev cannot be reached" in line


def test_answer_that_says_nothing_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with osv(status=400) as url:
        assert audit(url) != 0
    assert "400" in capsys.readouterr().err
