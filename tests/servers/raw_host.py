"""A host on loopback that sends given bytes, valid HTTP or not, and closes the connection."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class RawHost:
    """The requests to a raw host.

    Attributes:
        requests: the first line of each request.
        heads: each request's first line and headers.
    """

    port: int
    requests: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)


@contextmanager
def raw_host(answer: bytes | Sequence[bytes], tls: ssl.SSLContext | None = None) -> Iterator[RawHost]:
    """Answer each connection with the next of these byte strings, and all further ones with the last.

    Args:
        tls: the context with which connections are encrypted.
    """
    answers = [answer] if isinstance(answer, bytes) else list(answer)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = RawHost(listening.getsockname()[1])

        def serve() -> None:
            for number in range(1000):
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.settimeout(10)
                with suppress(OSError), connection:
                    stream = connection if tls is None else tls.wrap_socket(connection, server_side=True)
                    with suppress(OSError), stream:
                        head = b""
                        while b"\r\n\r\n" not in head and (part := stream.recv(65536)):
                            head += part
                        host.heads.append(head.partition(b"\r\n\r\n")[0])
                        host.requests.append(head.partition(b"\r\n")[0])
                        stream.sendall(answers[min(number, len(answers) - 1)])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield host
        finally:
            # Wakes `accept`, which `close` does not.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
