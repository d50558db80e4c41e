"""Network: between each process and each server, where it can be cut, hidden, or robbed."""

from tcp_proxy import End, Pair, TcpProxy

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""What PostgreSQL answers to a COMMIT that is done: CommandComplete, its length, the command."""


class Link(TcpProxy):
    """A proxy that may swallow what its server answers to COMMIT, and reset the connection.

    The transaction is committed then, and its client cannot know.
    """

    def __init__(self, host: str, port: int) -> None:
        """Stand before this server."""
        super().__init__(host, port)
        self.to_lose = 0
        self.lost = 0

    @property
    def connections(self) -> int:
        """Count the connections that are open now."""
        return len(self._pairs)

    @property
    def stalled(self) -> int:
        """Count the connections that both sides believe in and nothing passes."""
        return sum(1 for pair in self._pairs if pair.dead)

    async def _pass(self, pair: Pair, data: bytes, end: End) -> None:
        if self.to_lose and end is End.CLIENT and COMMITTED in data:
            self.to_lose -= 1
            self.lost += 1
            pair.reset()
            return
        await super()._pass(pair, data, end)
