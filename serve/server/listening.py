"""Bind the server's socket before anything else, and explain a failure in one sentence."""

import errno
import socket
import sys

# The address or its family does not exist on this machine.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

MAX_PORT = 65535


class CannotListen(Exception):
    """The server cannot listen on the address.

    Attributes:
        is_taken: another process listens there.
    """

    def __init__(self, message: str, *, is_taken: bool = False) -> None:
        super().__init__(message)
        self.is_taken = is_taken


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of `host`; port 0 chooses a free port.

    Raises:
        CannotListen: the address is taken, is not an address of this machine, or the port needs privileges.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{host!r} is no address: use an address of this machine with --host ({error}).") from None
    bound: list[socket.socket] = []
    absent: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            same_port = bound[0].getsockname()[1] if bound else port
            bound.append(_bind_one(family, kind, protocol, (address[0], same_port, *address[2:])))
        except OSError as error:
            if error.errno in _ABSENT:
                absent = error
                continue
            for listener in bound:
                listener.close()
            raise _explain(host, port, error) from None
    if not bound:
        assert absent is not None
        raise _explain(host, port, absent)
    return bound


def _bind_one(
    family: socket.AddressFamily, kind: socket.SocketKind, protocol: int, address: tuple[object, ...]
) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        # Connections of a server that has just ended must not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _explain(host: str, port: int, error: OSError) -> CannotListen:
    if error.errno == errno.EADDRINUSE:
        cure = "stop the process that listens there, or choose another port with --port"
        return CannotListen(f"Port {port} of {host} is taken: {cure}.", is_taken=True)
    if error.errno in (errno.EACCES, errno.EPERM):
        cure = "choose a port above 1023 with --port, or grant the privilege"
        return CannotListen(f"This user may not listen on port {port} of {host}: {cure}.")
    if error.errno in _ABSENT:
        return CannotListen(f"{host} is no address of this machine: use another one with --host.")
    return CannotListen(f"Port {port} of {host} cannot be listened on: {error}.")


def main() -> int:
    """Check whether the server can listen: `python -m serve.server.listening HOST PORT`. Exits 4 if the port is taken.

    Exits 2 if the port is not a number from 0 to 65535.
    """
    host, port = sys.argv[1:]
    # Check the length first, because Python refuses to parse very long numbers.
    if not (port.isascii() and port.isdecimal() and len(port.lstrip("0")) <= 5 and int(port) <= MAX_PORT):
        print(f"--port: expected an integer from 0 to {MAX_PORT}, got {port[:100]!r}.", file=sys.stderr)  # noqa: T201
        return 2
    try:
        for listener in bind(host, int(port)):
            listener.close()
    except CannotListen as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 4 if error.is_taken else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
