"""The server's stop: what was sent before it is answered."""

import asyncio
import socket

import uvicorn

LAST_CALLS_SECONDS = 1.0


class LastCalls(uvicorn.Server):
    """Goes on taking requests for a second once it is told to stop.

    The server closes connections whose request it has not read yet, and the system those that nobody has accepted:
    both were sent before the stop, and their clients saw them reset.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop once what was sent before the signal has been read."""
        await asyncio.sleep(0 if self.force_exit else LAST_CALLS_SECONDS)
        await super().shutdown(sockets)
