"""Guard: which addresses may be called, in whatever notation they are written."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from program_service.webhooks.errors import Forbidden
from program_service.webhooks.guard import METADATA, SPECIAL, Guard, host_of

PUBLIC = Guard()
OPEN = Guard.parse("0.0.0.0/0, ::/0, *.internal, metadata.google.internal")

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.0.0.1.",
    "127.255.255.254",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[::1%25lo]",
]

LOCAL_NAT64 = ["[64:ff9b:1::7f00:1]", "[64:ff9b:1:7f00:0:100::]"]

METADATA_ADDRESSES = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[64:ff9b:1:a9fe:a9:fe00::]",
    "[64:ff9b:1:a9:fe:a9fe::]",
    "[64:ff9b:1:0:a9:fea9:fe00::]",
    "[2002:a9fe:a9fe::]",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0:0:0:0:0:254]",
    "100.100.100.200",
    "metadata.google.internal",
    "METADATA.google.internal.",
]

PRIVATE = [
    "10.0.0.1",
    "10.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "[3fff::1]",
    "[5f00::1]",
    "[64:ff9b:1:808:8:800::]",
    "[::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd12::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[::ffff:10.0.0.1]",
    "[2002:c0a8:101::]",
]


@pytest.mark.parametrize("host", [*LOOPBACK, *LOCAL_NAT64, *PRIVATE])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_addresses_that_are_not_public_are_refused_in_every_notation(
    scheme: str, host: str
) -> None:
    with pytest.raises(Forbidden):
        PUBLIC.check_url(f"{scheme}://{host}/job")


@pytest.mark.parametrize("host", METADATA_ADDRESSES)
@pytest.mark.parametrize("guard", [PUBLIC, OPEN], ids=["public", "open"])
def test_metadata_services_are_refused_whatever_is_allowed(guard: Guard, host: str) -> None:
    with pytest.raises(Forbidden) as caught:
        guard.check_url(f"https://{host}/latest/meta-data")
    assert caught.value.rule in {"metadata", "public"}
    if guard is OPEN:
        assert caught.value.rule == "metadata"


@pytest.mark.parametrize("host", LOOPBACK[:-1])
def test_allowed_networks_allow_every_notation_and_plain_http(host: str) -> None:
    guard = Guard.parse("127.0.0.0/8 ::1/128")
    target = guard.check_url(f"http://{host}:8000/job")
    assert target.address is not None
    assert target.port == 8000


@pytest.mark.parametrize(
    "host",
    [
        "[2001:0:a00:1::80ff:fffe]",  # Teredo: a server at 10.0.0.1, and a client at 127.0.0.1
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_allowing_a_part_of_an_address_does_not_allow_the_other(host: str) -> None:
    for networks in ("10.0.0.0/8", "10.0.0.0/8 ::/0"):
        with pytest.raises(Forbidden, match="not a public address"):
            Guard.parse(networks).check_url(f"https://{host}/")


def test_special_networks_can_be_allowed_by_name() -> None:
    guard = Guard.parse("64:ff9b:1::/48, 192.0.0.0/24")
    for host in ("[64:ff9b:1:808:8:800::]", "192.0.0.8"):
        assert guard.check_url(f"http://{host}/").address is not None


@pytest.mark.parametrize(
    ("url", "path", "authority"),
    [
        ("https://a.example", "/", "a.example"),
        ("https://a.example:443/?x=1#part", "/?x=1", "a.example"),
        ("https://a.example:8443/b;v=1/c;w=2?x=1;y=2", "/b;v=1/c;w=2?x=1;y=2", "a.example:8443"),
        ("https://[2606:4700::1111]/a%2fb", "/a%2fb", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:81/", "/", "[2606:4700::1111]:81"),
    ],
)
def test_what_is_asked_for_is_what_the_address_says(url: str, path: str, authority: str) -> None:
    target = PUBLIC.check_url(url)
    assert (target.path, target.authority) == (path, authority)


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1", "[2606:4700:4700::1111]", "134744072"])
def test_public_addresses_are_allowed_over_https_only(host: str) -> None:
    assert PUBLIC.check_url(f"https://{host}/").address is not None
    with pytest.raises(Forbidden, match="over https only"):
        PUBLIC.check_url(f"http://{host}/")


def test_names_are_judged_when_they_are_resolved() -> None:
    target = PUBLIC.check_url("https://Billing.Example./jobs?x=1")
    assert (target.host, target.port, target.address) == ("billing.example", 443, None)
    PUBLIC.check_address(ipaddress.ip_address("8.8.8.8"), target)
    for private in ("10.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"):
        with pytest.raises(Forbidden, match="CALLBACK_ALLOW"):
            PUBLIC.check_address(ipaddress.ip_address(private), target)
    with pytest.raises(Forbidden, match="over https only"):
        PUBLIC.check_url("http://billing.example/")


def test_named_hosts_may_be_private_and_plain() -> None:
    guard = Guard.parse("billing, *.internal.example")
    for host in ("billing", "a.internal.example", "b.a.internal.example"):
        target = guard.check_url(f"http://{host}/job")
        guard.check_address(ipaddress.ip_address("10.0.0.1"), target)
        with pytest.raises(Forbidden, match="metadata"):
            guard.check_address(ipaddress.ip_address("169.254.169.254"), target)
    for host in ("internal.example", "billing.evil.example", "evil-billing", "xinternal.example"):
        with pytest.raises(Forbidden):
            guard.check_url(f"http://{host}/job")


def test_networks_allow_names_that_resolve_into_them() -> None:
    guard = Guard.parse("10.0.0.0/8")
    target = guard.check_url("http://billing/job")
    guard.check_address(ipaddress.ip_address("10.9.8.7"), target)
    for other in ("192.168.0.1", "8.8.8.8"):
        with pytest.raises(Forbidden):
            guard.check_address(ipaddress.ip_address(other), target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "billing",
        "//billing.example/",
        "ftp://billing.example/",
        "file:///etc/passwd",
        "gopher://billing.example/",
        "https://",
        "https:///jobs",
        "https://user@billing.example/",
        "https://user:secret@billing.example/",
        "https://billing.example:0/",
        "https://billing.example:99999/",
        "https://billing.example:x/",
        "https://bill ing.example/",
        "https://billing.example/\n",
        "https://billing.example\\@127.0.0.1/",
        "https://127.0.0.1%00.example/",
        "https://bücher.example/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127\u30020\u30020\u30021/",
        "https://1.2.3.4.5/",
        "https://999.1.1.1/",
        "https://0x7f.0.0.0x1ff/",
        "https://a..b/",
        "https://.a/",
        "https://-a.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 50] * 6) + "/",
        "https://[::1/",
        "https://[zz::1]/",
        "https://" + "a" * 2_100 + "/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Forbidden):
        OPEN.check_url(url)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1/8",
        "10.0.0.0/99",
        "10.0.0.256",
        "a b/c",
        "http://x",
        "*",
        "*.",
        "a..b",
        "a..b/",
        "127.1",
        "billing:8000",
    ],
)
def test_allow_list_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="neither a host such as"):
        Guard.parse(text)


@given(st.sampled_from(sorted(METADATA, key=str)), st.integers(0, 3))
def test_no_way_to_wrap_a_metadata_address_lets_it_through(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, way: int
) -> None:
    if isinstance(address, ipaddress.IPv4Address):
        number = int(address)
        wrapped = [
            (0xFFFF << 32) + number,
            number,
            (0x64FF9B << 96) + number,
            (0x2002 << 112) + (number << 80),
        ][way]
        address = ipaddress.IPv6Address(wrapped)
    with pytest.raises(Forbidden):
        OPEN.check_address(address, OPEN.check_url("https://billing.example/"))


@given(st.integers(0, 2**32 - 1))
def test_every_number_is_judged_as_its_address(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    for host in (str(number), hex(number), f"0{number:o}", str(address)):
        try:
            PUBLIC.check_url(f"https://{host}/")
            is_allowed = True
        except Forbidden:
            is_allowed = False
        is_special = address in METADATA or any(address in network for network in SPECIAL)
        is_public = address.is_global and not address.is_multicast and not is_special
        assert is_allowed == is_public


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Shop.example/a?b", "shop.example"),
        ("https://shop.example.:443/a", "shop.example"),
        ("https://shop.example:8443", "shop.example:8443"),
        ("http://shop.example:443/", "shop.example:443"),
        ("http://2130706433:80/", "127.0.0.1"),
        ("http://[::1]:80/", "[::1]"),
        ("https://", "?"),
        ("no url", "?"),
        (None, "?"),
    ],
)
def test_host_has_one_name_however_it_is_written(url: str, host: str) -> None:
    assert host_of(url) == host
