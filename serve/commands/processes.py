"""The processes that run until they are stopped: the server, and the worker for installations with a queue."""

import gc
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands.endings import DOWN, REFUSED, stop
from serve.commands.shell import DEFAULT_PORT, check_history, check_stores, opened, read_settings, workers_lock

if TYPE_CHECKING:
    import socket

    from packshot.settings.settings import Settings

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0: any free port.")
    ] = DEFAULT_PORT,
) -> None:
    """Serve the admin APIs and images; also run the jobs, unless PACKSHOT_REDIS_URL is set."""
    import asyncio
    from functools import partial
    from typing import cast

    import uvicorn

    from packshot.security.sealing import seal_webhooks
    from packshot.settings.admin_token import admin_token
    from pregen.queue.broker import QueueDoorbell, make_broker
    from pregen.worker import Worker
    from serve.app import create_app, working
    from serve.server.connection_limits import make_table, raise_descriptor_limit
    from serve.server.graceful_server import GracefulServer
    from serve.server.http_protocol import BoundedHttp
    from serve.server.websocket_protocol import MAX_MESSAGE_BYTES, BoundedWebSocket

    settings = read_settings()
    try:
        table = make_table(settings, raise_descriptor_limit())
    except ValueError as error:
        stop(str(error), REFUSED)
    with _alone(settings), _listening(host, port) as listeners, opened(settings) as site:
        check_stores(site)
        check_history(site)
        broker, token = make_broker(settings), admin_token(settings)
        site.sweep_incoming()
        seal_webhooks(site.catalog, settings)
        if settings.redis_url is None:
            worker = Worker(site, broker)
            application = create_app(site, broker, worker, token, lifespan=working(worker))
        else:
            application = create_app(site, broker, QueueDoorbell(broker), token)
        config = uvicorn.Config(
            application,
            # At `debug` the library logs the headers of WebSockets, which contain tokens.
            log_level="info" if settings.log_level == "debug" else settings.log_level,
            # `serve.logs.setup` configures all loggers.
            log_config=None,
            timeout_graceful_shutdown=10,
            # The application itself evaluates the headers of trusted proxies.
            proxy_headers=False,
            http=cast(type[asyncio.Protocol], partial(BoundedHttp, table=table)),
            ws=cast(type[asyncio.Protocol], partial(BoundedWebSocket, table=table)),
            ws_max_size=MAX_MESSAGE_BYTES,
        )
        server = GracefulServer(config, table)
        origin = f"http://{f'[{host}]' if ':' in host else host}:{listeners[0].getsockname()[1]}"
        server.on_started = partial(_greet, settings, origin, token)
        # Objects that exist now live as long as the process. Without the freeze every full garbage collection visits
        # them all, which stops requests for a tenth of a second.
        gc.collect()
        gc.freeze()
        # After Ctrl-C, raised again once everything has stopped.
        with suppress(KeyboardInterrupt):
            server.run(sockets=listeners)
        if not server.started:
            stop("The server could not start; the lines above say why.", DOWN)


@app.command()
def worker(
    processes: Annotated[
        int | None, typer.Option(min=1, help="Render processes; default: one more than cores.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Packs at the same time from each queue; default: one for each core.")
    ] = None,
) -> None:
    """Run jobs from the queue at PACKSHOT_REDIS_URL. Start any number of workers, on any machine."""
    import signal
    import threading

    from packshot.security.sealing import seal_webhooks
    from pregen.queue.broker import make_broker
    from pregen.worker import Worker

    settings = read_settings()
    if settings.redis_url is None:
        stop("`packshot worker` needs PACKSHOT_REDIS_URL; without a queue, `packshot serve` runs the jobs.", REFUSED)
    if processes is not None:
        settings = settings.model_copy(update={"render_processes": processes})
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with opened(settings) as site:
        check_stores(site)
        check_history(site)
        site.sweep_incoming()
        seal_webhooks(site.catalog, settings)
        worker = Worker(site, make_broker(settings), threads=threads)
        worker.start()
        typer.echo("The worker waits for packs. Ctrl-C stops it after the packs in progress.")
        # In steps, because an endless wait delays signals on some systems.
        while not ended.wait(1.0):
            pass
        worker.stop()


@contextmanager
def _listening(host: str, port: int) -> Iterator[list["socket.socket"]]:
    """Bind the port first, so that a port in use ends the command before anything starts."""
    from serve.server.listening import CannotListen, bind

    try:
        listeners = bind(host, port)
    except CannotListen as error:
        stop(str(error), DOWN if error.is_taken else REFUSED)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


@contextmanager
def _alone(settings: "Settings") -> Iterator[None]:
    """Hold the data folder's lock, unless a queue lets several processes run the jobs."""
    from filelock import Timeout

    if settings.redis_url is not None:
        yield
        return
    lock = workers_lock(settings)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        stop(f"Another packshot process runs the jobs of {settings.data}. Stop it, or set another PACKSHOT_DATA.", DOWN)
    with lock:
        yield


def _greet(settings: "Settings", origin: str, token: str) -> None:
    token_line, bearer = _show_token(settings, token, is_terminal=sys.stdout.isatty())
    where = '"Authorization": "Bearer <admin token>"'
    typer.echo(
        f"""
Packshot serves {settings.data.resolve()} on {origin}

  front page    {origin}/
  admin API     {origin}/graphql   (GraphiQL in a browser; header {{{where}}})
  admin token   {token_line}

  try           curl -s {origin}/graphql -H "Authorization: Bearer {bearer}" \\
                  -H 'Content-Type: application/json' \\
                  -d '{{"query": "{{ packs {{ nodes {{ id stableUrl }} }} }}"}}'
"""
    )


def _show_token(settings: "Settings", token: str, *, is_terminal: bool) -> tuple[str, str]:
    """Return how the greeting shows the admin token: to readers, and inside the double quotes of a shell command.

    The token itself appears only on a terminal, because a service's standard output is a log that others read.
    """
    if settings.admin_token is not None:
        return "as set in PACKSHOT_ADMIN_TOKEN", "$PACKSHOT_ADMIN_TOKEN"
    if is_terminal:
        return token, token
    path = settings.data.resolve() / "admin-token"
    return f"in the file {path}", f"$(cat {shlex.quote(str(path))})"
