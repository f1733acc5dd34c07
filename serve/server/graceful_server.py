"""Stop the server after it has answered all requests sent before the stop."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from serve.server.connection_limits import ConnectionTable

GRACE_SECONDS = 1.0


class GracefulServer(uvicorn.Server):
    """Accepts requests for one more second after the signal to stop.

    uvicorn closes connections whose request it has not read yet, and the system resets those that are not accepted yet.
    Both may have sent a request before the stop.

    Args:
        table: the connections, whose deadlines are checked once a second.

    Attributes:
        on_started: called once the server accepts requests.
    """

    on_started: Callable[[], None] | None = None

    def __init__(self, config: uvicorn.Config, table: ConnectionTable) -> None:
        super().__init__(config)
        self._table = table

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `on_started`."""
        await super().startup(sockets)
        if self.started and not self.should_exit and self.on_started is not None:
            self.on_started()

    async def on_tick(self, counter: int) -> bool:
        """Check deadlines once a second. Called ten times a second; return whether to stop."""
        if counter % 10 == 0:
            self._table.check(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop after reading the requests that were sent before the signal."""
        await asyncio.sleep(0 if self.force_exit else GRACE_SECONDS)
        await super().shutdown(sockets)
