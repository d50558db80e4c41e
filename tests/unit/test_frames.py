"""Frames: what no client could decode is removed before the driver sees it."""

import asyncio
import struct

import pamqp.frame
import pytest
from pamqp import commands
from pamqp.header import ContentHeader

from program_service.wakeups.rabbitmq.driver.frames import Closing, Frames

CHANNEL = 3
END = b"\xce"


def frame(kind: int, payload: bytes, *, channel: int = CHANNEL) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + END


def method(name: tuple[int, int], fields: bytes, *, channel: int = CHANNEL) -> bytes:
    return frame(1, struct.pack(">HH", *name) + fields, channel=channel)


def text(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def header(flags: int, properties: bytes) -> bytes:
    return frame(2, struct.pack(">HHQH", 60, 0, 5, flags) + properties)


def deliver(exchange: bytes = b"", key: bytes = b"default") -> bytes:
    tag_and_flag = struct.pack(">QB", 2**63, 0)
    return method((60, 60), text(b"ctag1.x") + tag_and_flag + text(exchange) + text(key))


def returned() -> bytes:
    return method((60, 50), struct.pack(">H", 312) + text(b"NO_ROUTE") + text(b"") + text(b"q"))


async def read_all(*sent: bytes) -> tuple[Frames, list[object]]:
    """Read frames as aiormq does, and decode them."""
    stream = asyncio.StreamReader()
    stream.feed_data(b"".join(sent))
    stream.feed_eof()
    frames = Frames(stream)
    decoded: list[object] = []
    while not frames.at_eof():
        head = await frames.readexactly(1) + await frames.readexactly(6)
        _, _, length = struct.unpack(">BHI", head)
        decoded.append(pamqp.frame.unmarshal(head + await frames.readexactly(length + 1))[2])
    return frames, decoded


UNDECODABLE = {
    "content-type": (1 << 15, text(b"\xff\xfe")),
    "header-name": (1 << 13, struct.pack(">I", 4) + text(b"\xff") + b"t\1"),
    "unknown-type": (1 << 13, struct.pack(">I", 3) + text(b"a") + b"?"),
    "truncated-table": (1 << 13, struct.pack(">I", 1_000)),
    "year-60000": (1 << 6, struct.pack(">Q", 1_831_254_048_000_000)),
    "nothing-there": (0xFFFC, b""),
}


@pytest.mark.parametrize("odd", UNDECODABLE.values(), ids=UNDECODABLE.keys())
async def test_properties_of_a_delivery_are_not_decoded(odd: tuple[int, bytes]) -> None:
    with pytest.raises(pamqp.exceptions.UnmarshalingException):
        pamqp.frame.unmarshal(header(*odd))
    _, (delivery, properties) = await read_all(deliver(), header(*odd))
    assert isinstance(delivery, commands.Basic.Deliver)
    assert isinstance(properties, ContentHeader)
    assert properties.body_size == 5


async def test_names_that_are_no_text_do_not_end_the_connection() -> None:
    _, (delivery,) = await read_all(deliver(b"\xc3(" * 100, b"\xff" * 255))
    assert isinstance(delivery, commands.Basic.Deliver)
    assert delivery.consumer_tag == "ctag1.x"
    assert delivery.routing_key == "?" * 255


async def test_id_of_a_returned_message_is_kept() -> None:
    """By it the driver finds out which message was returned."""
    ours = header(1 << 7, text(b"id-1"))
    _, decoded = await read_all(deliver(), ours, returned(), ours, deliver(), ours)
    ids = [each.properties.message_id for each in decoded if isinstance(each, ContentHeader)]
    assert ids == [None, "id-1", None]


async def test_reason_of_an_end_and_of_a_block_is_kept() -> None:
    reason = text(b"no vhost gr\xc3\xb6\xc3") + b"\0\0\0\0"
    close = method((10, 50), struct.pack(">H", 530) + reason, channel=0)
    frames, _ = await read_all(close)
    assert frames.closing == Closing(530, "no vhost gr???")
    blocked = method((10, 60), text(b"low on memory"), channel=0)
    frames, _ = await read_all(blocked)
    assert frames.blocked == "low on memory"
    frames, _ = await read_all(blocked, method((10, 61), b"", channel=0))
    assert frames.blocked is None


async def test_other_frames_pass_as_they_are() -> None:
    sent = [
        method((50, 11), text(b"q") + struct.pack(">II", 7, 1)),
        frame(3, b"\xff\x00\xce body"),
        frame(8, b"", channel=0),
    ]
    stream = asyncio.StreamReader()
    stream.feed_data(b"".join(sent))
    frames = Frames(stream)
    for each in sent:
        read = b"".join([await frames.readexactly(1), await frames.readexactly(6)])
        assert read + await frames.readexactly(len(each) - 7) == each


async def test_stream_that_ends_within_a_frame_says_so() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(deliver()[:20])
    stream.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await Frames(stream).readexactly(1)
