"""What tests of calls share."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for billing.example, signed by itself."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [
            *("openssl", *words.split(), "-subj", "/CN=billing.example"),
            *("-addext", "subjectAltName=DNS:billing.example"),
            *("-keyout", str(file), "-out", str(file.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test that has sockets on the event loop of production, too."""
    standard = {"asyncio": asyncio.new_event_loop}
    has_sockets = item.path.stem not in {"test_ends", "test_cancels"}
    return standard | {"uvloop": uvloop.new_event_loop} if has_sockets else standard
