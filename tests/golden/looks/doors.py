"""The command line and the routes, in this process."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.cli import main as command_main
from backend.core.signing import Signer
from tests.golden.looks.home import House
from ui.annotation import routes as annotation_routes
from ui.playground import routes as playground_routes


def command(*arguments: str) -> tuple[int, str, str]:
    """A command in this process: exit code, stdout, stderr."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["backend", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err), _umask_kept():
            command_main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = before
    return code, out.getvalue(), err.getvalue()


@contextmanager
def _umask_kept() -> Iterator[None]:
    import os

    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def client(house: House, rater: int | None = None, visitor: str | None = None) -> Iterator[TestClient]:
    """The routes as a browser with these cookies reaches them."""
    made = FastAPI()
    made.include_router(annotation_routes.build_router(house))
    made.include_router(playground_routes.build_router(house))
    cookies = {}
    if rater is not None:
        cookies[annotation_routes.RATER_COOKIE] = Signer(house.settings.home, "zhufu-rater").sign(rater)
    if visitor is not None:
        cookies[playground_routes.VISITOR_COOKIE] = Signer(house.settings.home, "zhufu-visitor").sign(visitor)
    with TestClient(made, cookies=cookies) as opened_client:
        yield opened_client
