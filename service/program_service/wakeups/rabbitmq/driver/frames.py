"""Frames: what arrives from RabbitMQ, watched and cleaned before the driver decodes it.

The driver decodes properties, header tables and names in the one task that reads for the whole
connection: a content type that is not UTF-8, or a time in the year 60000, ends the connection, with
all queues on it, again and again until the message has reached its delivery limit. We use none of
these fields, so they are removed from deliveries. Here we also see two things that the driver keeps
to itself: why RabbitMQ closes a connection, and that it has blocked one.
"""

import asyncio
import struct
import time
from typing import NamedTuple

METHOD, CONTENT_HEADER, HEARTBEAT = 1, 2, 8

CONNECTION_CLOSE = (10, 50)
CONNECTION_BLOCKED = (10, 60)
CONNECTION_UNBLOCKED = (10, 61)
CHANNEL_CLOSE = (20, 40)
BASIC_RETURN = (60, 50)
BASIC_DELIVER = (60, 60)
BASIC_GET_OK = (60, 71)

HEAD_BYTES = 7
"""Type, channel and length of a frame; one byte follows the payload."""

FIELDS_AT = 4
"""Where the fields of a method begin, after its two numbers."""

TAG_AND_FLAG_BYTES = 9
"""A delivery tag, and whether it was redelivered."""

PROPERTY_FLAGS = slice(12, 14)
"""In a content header: which properties follow."""

PLAIN = bytes(byte if byte < 0x80 else ord("?") for byte in range(256))  # noqa: PLR2004 - ASCII


class Closing(NamedTuple):
    """Why RabbitMQ closes a connection."""

    code: int
    text: str


class Frames:
    """A stream of frames, as aiormq reads it: a head in two pieces, then the payload."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Read from this stream."""
        self._reader = reader
        self._rest = memoryview(b"")
        self._returning: set[int] = set()
        self.answered_at = 0.0
        """When something arrived that is no heartbeat, in monotonic time."""
        self.closing: Closing | None = None
        self.blocked: str | None = None
        """Why RabbitMQ takes no messages over this connection, in its own words."""

    def at_eof(self) -> bool:
        """Whether nothing follows."""
        return not self._rest and self._reader.at_eof()

    async def readexactly(self, count: int) -> bytes:
        """Return the next bytes of a frame.

        Raises:
            IncompleteReadError: the stream ended.
        """
        if not self._rest:
            self._rest = memoryview(await self._next())
        piece, self._rest = self._rest[:count], self._rest[count:]
        return bytes(piece)

    async def _next(self) -> bytes:
        head = await self._reader.readexactly(HEAD_BYTES)
        if head.startswith(b"AMQP"):  # no frame: RabbitMQ speaks another version
            return head
        kind, channel, length = struct.unpack(">BHI", head)
        payload = await self._reader.readexactly(length + 1)
        if kind != HEARTBEAT:
            self.answered_at = time.monotonic()
        if kind == METHOD:
            payload = self._method(channel, payload)
        elif kind == CONTENT_HEADER and channel not in self._returning:
            payload = _without_properties(payload)
        return head + payload

    def _method(self, channel: int, payload: bytes) -> bytes:
        number = struct.unpack_from(">HH", payload)
        if number == BASIC_DELIVER:
            self._returning.discard(channel)
            after_consumer_tag = FIELDS_AT + 1 + payload[FIELDS_AT]
            return _in_ascii(payload, after_consumer_tag + TAG_AND_FLAG_BYTES, texts=2)
        if number == BASIC_GET_OK:
            self._returning.discard(channel)
            return _in_ascii(payload, FIELDS_AT + TAG_AND_FLAG_BYTES, texts=2)
        if number == BASIC_RETURN:
            self._returning.add(channel)  # a message of our own: the driver needs its id
        elif number == CHANNEL_CLOSE:
            return _in_ascii(payload, FIELDS_AT + 2, texts=1)
        elif number in {CONNECTION_CLOSE, CONNECTION_BLOCKED, CONNECTION_UNBLOCKED}:
            return self._note(number, payload)
        return payload

    def _note(self, number: tuple[int, ...], payload: bytes) -> bytes:
        if number == CONNECTION_CLOSE:
            payload = _in_ascii(payload, FIELDS_AT + 2, texts=1)
            (code,) = struct.unpack_from(">H", payload, FIELDS_AT)
            self.closing = Closing(code, _text(payload, FIELDS_AT + 2))
        elif number == CONNECTION_BLOCKED:
            payload = _in_ascii(payload, FIELDS_AT, texts=1)
            self.blocked = _text(payload, FIELDS_AT)
        else:
            self.blocked = None
        return payload


def _in_ascii(payload: bytes, at: int, *, texts: int) -> bytes:
    """Replace what is not ASCII in some texts that follow one another, each after its length."""
    cleaned = bytearray(payload)
    for _ in range(texts):
        end = at + 1 + cleaned[at]
        cleaned[at + 1 : end] = cleaned[at + 1 : end].translate(PLAIN)
        at = end
    return bytes(cleaned)


def _text(payload: bytes, at: int) -> str:
    return payload[at + 1 : at + 1 + payload[at]].decode("ascii")


def _without_properties(payload: bytes) -> bytes:
    """Say that no properties follow; what does is not looked at."""
    cleaned = bytearray(payload)
    cleaned[PROPERTY_FLAGS] = b"\0\0"
    return bytes(cleaned)
