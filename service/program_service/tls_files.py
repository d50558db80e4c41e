"""TLS files: certificates and keys that URLs name, read once before anything connects."""

import ssl
from pathlib import Path


def require_authorities(option: str, path: str) -> None:
    """Require a file of certificates.

    Raises:
        ValueError: it is none; the message names the option and the file.
    """
    _require_file(option, path)
    try:
        ssl.create_default_context(cafile=path)
    except (ssl.SSLError, ValueError) as error:
        msg = f"?{option}= names {path!r}, which holds no certificate in PEM"
        raise ValueError(msg) from error


def require_pair(certificate: tuple[str, str], key: tuple[str, str] | None, password: str) -> None:
    """Require a certificate and its key, each an option and a file; the key may be in the first.

    Raises:
        ValueError: they are not, or do not belong together.
    """
    for option, path in filter(None, (certificate, key)):
        _require_file(option, path)
    context = ssl.create_default_context()
    option, path = certificate
    try:
        context.load_cert_chain(path, key[1] if key else None, password=lambda: password)
    except (ssl.SSLError, ValueError) as error:
        beside = f" with the key {key[1]!r}" if key else " with its key"
        msg = f"?{option}= names {path!r}, which is no certificate in PEM{beside}, or its password"
        raise ValueError(msg) from error


def is_of_certificates(error: BaseException | None) -> bool:
    """Say whether a handshake failed because of certificates or versions, not by chance."""
    passing = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)
    return isinstance(error, ssl.SSLError) and not isinstance(error, passing)


def _require_file(option: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        msg = f"?{option}= names {path!r}, which cannot be read: {why}"
        raise ValueError(msg) from error
