"""Guard: where calls may go.

By default to public addresses, over https. A setting names hosts and networks besides: those may be
private, and plain http. The addresses of cloud metadata services are never called, however they are
written, and whatever resolves to them.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeAlias
from urllib.parse import urlsplit

from program_service.webhooks.errors import BadWebhookSetting, Forbidden

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2_048
SETTING = "PROGRAM_EXECUTOR_CALLBACK_ALLOW"
PORTS = {"http": 80, "https": 443}

METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
}
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # nearly everybody's
            "169.254.170.2",  # ECS
            "169.254.170.23",  # EKS
            "fd00:ec2::254",
            "fd00:ec2::23",
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "168.63.129.16",  # Azure
            "fd20:ce::254",  # Google
        ),
    )
)

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
COMPATIBLE = ipaddress.IPv6Network("::/96")
SPECIAL: tuple[Network, ...] = (
    # not public, which Python learned late or not at all
    LOCAL_NAT64,
    *map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16")),
)

MAX_HOST = 253
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads; `address` when its host is one already, `path` with the query."""

    scheme: str
    host: str
    port: int
    address: Address | None
    path: str = "/"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one deployment."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hosts (`billing`, `*.internal.example`) and networks, by commas or spaces.

        Raises:
            BadWebhookSetting: an entry is neither.
        """
        hosts, networks = [], []
        for entry in re.split(r"[\s,]+", text.strip().lower()):
            if not entry:
                continue
            try:
                networks.append(ipaddress.ip_network(entry))
                continue
            except ValueError as error:
                if not _is_name(entry.removeprefix("*.")):
                    msg = (
                        f"{SETTING} has {entry!r}, which is neither a host such as billing or"
                        f" *.internal.example nor a network such as 10.0.0.0/8: {error}"
                    )
                    raise BadWebhookSetting(msg) from error
            hosts.append(entry)
        return cls(tuple(hosts), tuple(networks))

    def check_url(self, url: str) -> Target:
        """Return where a URL leads, if its own words let it be called.

        Raises:
            Forbidden: they do not.
        """
        target = _target(url)
        if target.host in METADATA_NAMES:
            raise Forbidden("metadata", f"{target.host} is a cloud's metadata service")
        if target.address is not None:
            self.check_address(target.address, target)
        elif target.scheme == "http" and not self.networks and not self._names(target.host):
            raise Forbidden("https", _not_https(target))
        return target

    def check_address(self, address: Address, target: Target) -> None:
        """Look whether an address may be called, to which this target led.

        Raises:
            Forbidden: it may not.
        """
        if any(each in METADATA for each in _meanings(address)):
            raise Forbidden("metadata", f"{address} is a cloud's metadata service")
        judged = _judged(address)
        if self._names(target.host) or all(map(self._allows, judged)):
            return
        if not all(self._allows(each) or _is_public(each) for each in judged):
            message = (
                f"{_shown(target, address)} is not a public address; name its host or network in"
                f" {SETTING} to allow it"
            )
            raise Forbidden("public", message)
        if target.scheme != "https":
            raise Forbidden("https", _not_https(target))

    def _allows(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def _names(self, host: str) -> bool:
        return any(
            host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern
            for pattern in self.hosts
        )


def host_of(url: str) -> str:
    """Return the host of a URL, and its port if it is not the scheme's; `?` for what is no URL."""
    try:
        target = _target(url)
    except (Forbidden, TypeError, AttributeError):
        return "?"
    if target.address is not None:
        target = replace(target, host=str(target.address))
    return target.authority


def _target(url: str) -> Target:
    if len(url) > MAX_URL:
        raise Forbidden("url", f"the address is longer than {MAX_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise Forbidden("url", f"{url!r} may hold printable ASCII only; write names in punycode")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Forbidden("url", f"{url!r} is no address: {error}") from error
    if parts.scheme not in PORTS:
        raise Forbidden("url", f"{url!r} does not begin with https://")
    if "@" in parts.netloc:
        raise Forbidden("url", "the address holds a user's name, which calls do not send")
    host = (parts.hostname or "").removesuffix(".")
    if port == 0:
        raise Forbidden("url", f"{url!r} names the port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], _literal(host, url), path)


def _literal(host: str, url: str) -> Address | None:
    """Return the address that a host is in whatever notation, or None for a name."""
    if ":" in host:
        try:
            return ipaddress.ip_address(host.partition("%")[0])
        except ValueError as error:
            raise Forbidden("url", f"{url!r} has no valid IPv6 address") from error
    if (address := _as_ipv4(host)) is not None:
        return address
    if not _is_name(host):
        raise Forbidden("url", f"{url!r} has no valid host")
    return None


def _is_name(host: str) -> bool:
    """Tell a name from an address in whatever notation, also from a wrong one (10.0.0.256)."""
    last = host.rpartition(".")[2]
    return (
        len(host) <= MAX_HOST
        and all(map(LABEL.fullmatch, host.split(".")))
        and not last.isdecimal()
        and not last.startswith("0x")
    )


def _as_ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Read an address as the C library does: decimal, octal or hexadecimal, in 1 to 4 parts."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host.strip() == host else None
    except (OSError, ValueError):
        return None


def _meanings(address: Address) -> Iterator[Address]:
    """Yield an address, and the addresses that it may stand for."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.scope_id is not None:
        yield ipaddress.IPv6Address(int(address))
    yield from _stands_for(address)
    if address in LOCAL_NAT64:
        # RFC 6052, 2.2: the networks in it have prefixes of any of these lengths, in bytes
        octets = address.packed
        for length in (6, 7, 8):
            yield ipaddress.IPv4Address((octets[length:8] + octets[9:])[:4])
        yield ipaddress.IPv4Address(octets[12:])


def _stands_for(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an address surely stands for."""
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    number = int(address)
    if (address in NAT64 or address in COMPATIBLE) and number > 1:
        inner.append(ipaddress.IPv4Address(number & 0xFFFF_FFFF))
    return [each for each in inner if each is not None]


def _judged(address: Address) -> Sequence[Address]:
    """Return the addresses that must all be allowed: those that it stands for, else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    return _stands_for(address) or [ipaddress.IPv6Address(int(address))]


def _is_public(address: Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    if isinstance(address, ipaddress.IPv6Address):
        is_special = is_special or address.is_site_local
    return (
        address.is_global and not is_special and not any(address in network for network in SPECIAL)
    )


def _shown(target: Target, address: Address) -> str:
    return str(address) if target.address is not None else f"{target.host} ({address})"


def _not_https(target: Target) -> str:
    return (
        f"{target.host} is called over https only; name it, or its network, in {SETTING} to allow"
        f" plain http"
    )
