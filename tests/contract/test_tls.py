"""TLS: the certificate of a PostgreSQL is checked as its URL says, in the words of libpq."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from private_postgres import NoPostgresError, private_postgres
from program_service.bookkeeping.database import Database
from skips import or_skip

ENCRYPTED = sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


def a_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for `localhost`, signed by itself, and its key."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs openssl")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    made = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}")
    names = ("-addext", "subjectAltName=DNS:localhost")
    where = ("-keyout", key, "-out", certificate)
    subprocess.run(
        [openssl, "req", *made, *names, *where], check=True, capture_output=True, timeout=60
    )
    return certificate, key


@pytest.fixture(scope="module")
def its_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_certificate(tmp_path_factory.mktemp("tls"), "server")[0]


@pytest.fixture(scope="module")
def port(its_certificate: Path) -> Iterator[int]:
    with or_skip("PostgreSQL", private_postgres(), NoPostgresError) as server:
        server.encrypt(its_certificate, its_certificate.with_suffix(".key"))
        yield server.port


async def is_encrypted(url: str) -> bool:
    database = Database.connect(url)
    try:
        async with database.engine.connect() as connection:
            return bool((await connection.execute(ENCRYPTED)).scalar_one())
    finally:
        await database.close()


async def test_root_certificate_stands_in_the_url_or_in_the_environment(
    port: int, its_certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://postgres@localhost:{port}/postgres?sslmode=verify-full"
    assert await is_encrypted(f"{url}&sslrootcert={its_certificate}")
    monkeypatch.setenv("PGSSLROOTCERT", str(its_certificate))
    assert await is_encrypted(url)


async def test_server_with_the_certificate_of_another_is_not_talked_to(
    port: int, its_certificate: Path, tmp_path: Path
) -> None:
    of_another, _ = a_certificate(tmp_path, "another")
    for host, root in (("localhost", of_another), ("127.0.0.1", its_certificate)):
        url = f"postgresql://postgres@{host}:{port}/postgres"
        with pytest.raises(ssl.SSLCertVerificationError):
            await is_encrypted(f"{url}?sslmode=verify-full&sslrootcert={root}")
        assert await is_encrypted(f"{url}?sslmode=require")
