"""Zhufu's web application: settings → database → services → pages → server."""

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from backend.core.errors import UserError
from backend.core.files import restrict_new_files, translate_disk_fault
from backend.core.network import answered_hosts, check_exposure, is_loopback
from backend.core.settings import Settings
from backend.jobs.workers import WorkerKeeper
from backend.services import Services, build_services
from backend.training.service import TrainingService, train_unasked
from backend.training.shipped import register_shipped_starter
from backend.worker import WORKER_COMMAND

# Seconds that a request still gets which is being answered when the application is stopped.
STOP_SECONDS = 3


def main() -> None:
    """Start the server; whatever a person can mend ends as one sentence."""
    restrict_new_files()
    try:
        settings = Settings.load()
        # Before the services, which create the database: a start that is refused leaves none behind.
        check_exposure(settings)
        _check_port_is_free(settings)
        services = build_services(settings)
        serve_app(services)
    except UserError as error:
        exit_with_error(error)
    except OSError as error:
        disk_problem = translate_disk_fault(error)
        # Anything else is a defect of ours, and a defect needs its traceback.
        if disk_problem is None:
            raise
        exit_with_error(disk_problem)


def exit_with_error(error: UserError) -> NoReturn:
    """One sentence in each language on stderr, exit code 2."""
    print(f"error: {error}\n错误：{error.text('zh')}", file=sys.stderr)
    sys.exit(2)


def serve_app(services: Services) -> None:
    """Prepare a first start, then serve until stopped."""
    # Gradio takes seconds to load, and whoever has to mend a setting or the home folder first need not wait.
    from ui.shell.app import build_app, stop_heartbeats

    settings = services.settings
    if services.is_first_start():
        # flush: into a pipe or a log Python writes in blocks, and whoever waits would see nothing.
        print("First start: loading the seed corpus and its judges …", flush=True)
        services.prepare()
        if train_unasked(TrainingService(services.jobs), settings.starter):
            # Measured: 4 min 46 s for the policy and 1 min 28 s for its reward model (docs/experiments.md).
            print("Training the starter model in the background, about six minutes …", flush=True)
    if settings.starter == "shipped":
        _register_starter(services)
    app = build_app(services)
    worker_keeper = WorkerKeeper(settings, services.database, WORKER_COMMAND)
    worker_keeper.start()
    print(f"祝福 Zhufu: http://{settings.host}:{settings.port}", flush=True)
    if not is_loopback(settings.host):
        host_names = ", ".join(answered_hosts(settings))
        print(f"Answers to {host_names}; ZHUFU_ALLOWED_HOSTS adds names.", flush=True)
    try:
        # uvicorn raises the signal again once it has shut down; a stop by Ctrl-C is no error.
        with suppress(KeyboardInterrupt):
            _GracefulServer(app, settings, partial(stop_heartbeats, app)).run()
    finally:
        # Before the services: the keeper still looks into the database.
        worker_keeper.close()
        services.close()


def _register_starter(services: Services) -> None:
    """The trained starter that comes with the project; where its files are not whole, all else works without it."""
    try:
        register_shipped_starter(services.jobs, services.settings.home)
    except UserError as error:
        print(f"The starter model: {error}\n入门模型：{error.text('zh')}", file=sys.stderr, flush=True)


class _GracefulServer(uvicorn.Server):
    """Stops though pages are open in browsers, which keep a connection as long as they are shown."""

    def __init__(self, app: FastAPI, settings: Settings, stop_heartbeats: Callable[[], None]) -> None:
        self._stop_heartbeats = stop_heartbeats
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level="warning",
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the heartbeats of open pages first: uvicorn would wait for these connections as long as it may."""
        self._stop_heartbeats()
        await super().shutdown(sockets)


def _check_port_is_free(settings: Settings) -> None:
    try:
        # Resolved and not assumed: the host may be an IPv6
        # address, which a probe for IPv4 would blame on the port.
        address_family, *_, bind_address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(address_family) as probe_socket:
            # As the server itself does: right after a restart the
            # old connections still hold the port in TIME_WAIT.
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe_socket.bind(bind_address)
    except OSError as error:
        raise UserError(
            f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}); set ZHUFU_PORT or ZHUFU_HOST.",
            f"无法监听 {settings.host}:{settings.port}，请用 ZHUFU_PORT 换一个端口，或用 ZHUFU_HOST 换一个地址。",
        ) from error


if __name__ == "__main__":
    main()
