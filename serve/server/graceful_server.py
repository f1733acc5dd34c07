"""The server's stop: what was sent before it is answered."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from serve.server.connection_limits import ConnectionTable

GRACE_SECONDS = 1.0


class GracefulServer(uvicorn.Server):
    """Goes on taking requests for a second once it is told to stop.

    The server closes connections whose request it has not read yet, and the system those that nobody has accepted:
    both were sent before the stop, and their clients saw them reset.

    Args:
        table: the connections, whose deadlines are looked at once a second.

    Attributes:
        on_started: called once requests are answered.
    """

    on_started: Callable[[], None] | None = None

    def __init__(self, config: uvicorn.Config, table: ConnectionTable) -> None:
        super().__init__(config)
        self._table = table

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell whoever waits for it."""
        await super().startup(sockets)
        if self.started and not self.should_exit and self.on_started is not None:
            self.on_started()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second; return whether to stop."""
        if counter % 10 == 0:
            self._table.check(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop once what was sent before the signal has been read."""
        await asyncio.sleep(0 if self.force_exit else GRACE_SECONDS)
        await super().shutdown(sockets)
