"""The processes that run until they are stopped: the server, and the worker of the scaled-out case."""

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
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = DEFAULT_PORT,
) -> None:
    """Serve the admin API and the pictures; run the jobs too, unless PACKSHOT_REDIS_URL is set."""
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
            # At `debug` it logs the headers of WebSockets, and with them tokens.
            log_level="info" if settings.log_level == "debug" else settings.log_level,
            # Every logger writes as `serve.logs.setup` says.
            log_config=None,
            timeout_graceful_shutdown=10,
            # Whom to believe is a setting of ours, and the application sees to it.
            proxy_headers=False,
            http=cast(type[asyncio.Protocol], partial(BoundedHttp, table=table)),
            ws=cast(type[asyncio.Protocol], partial(BoundedWebSocket, table=table)),
            ws_max_size=MAX_MESSAGE_BYTES,
        )
        server = GracefulServer(config, table)
        origin = f"http://{f'[{host}]' if ':' in host else host}:{listeners[0].getsockname()[1]}"
        server.on_started = partial(_greet, settings, origin, token)
        # What exists by now lives as long as the process. Otherwise each full collection goes through all of it, which
        # stops every request for a tenth of a second.
        gc.collect()
        gc.freeze()
        # Raised again once all is stopped, where Ctrl-C asked for it.
        with suppress(KeyboardInterrupt):
            server.run(sockets=listeners)
        if not server.started:
            stop("The server could not start; the lines above say why.", DOWN)


@app.command()
def worker(
    processes: Annotated[int | None, typer.Option(min=1, help="Render processes; one more than cores.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Packs at once from each queue; one a core.")] = None,
) -> None:
    """Run jobs from the queue that PACKSHOT_REDIS_URL names. Start any number, on any machine."""
    import signal
    import threading

    from packshot.security.sealing import seal_webhooks
    from pregen.queue.broker import make_broker
    from pregen.worker import Worker

    settings = read_settings()
    if settings.redis_url is None:
        stop("A worker needs PACKSHOT_REDIS_URL; without it, `packshot serve` runs the jobs itself.", REFUSED)
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
        typer.echo("The worker waits for packs. Ctrl-C ends it when the packs in work are done.")
        # In steps: a wait without end would keep signals from being heard on some systems.
        while not ended.wait(1.0):
            pass
        worker.stop()


@contextmanager
def _listening(host: str, port: int) -> Iterator[list["socket.socket"]]:
    """Hold the port from the beginning, so that a taken one ends the command before anything is begun."""
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
    """Hold the data folder's lock, unless a queue lets many processes run the jobs."""
    from filelock import Timeout

    if settings.redis_url is not None:
        yield
        return
    lock = workers_lock(settings)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        stop(f"Another packshot process runs the jobs of {settings.data}. Stop it, or set PACKSHOT_DATA.", DOWN)
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
    """Return how the greeting names the admin token: for a person, and inside the double quotes of a shell command.

    The token itself appears only on a terminal: the standard output of a service is its log, which others read.
    """
    if settings.admin_token is not None:
        return "as set in PACKSHOT_ADMIN_TOKEN", "$PACKSHOT_ADMIN_TOKEN"
    if is_terminal:
        return token, token
    path = settings.data.resolve() / "admin-token"
    return f"in the file {path}", f"$(cat {shlex.quote(str(path))})"
