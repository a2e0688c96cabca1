"""`python -m backend.training.serve`: a trained policy behind an OpenAI-compatible address, until stopped.

    python -m backend.training.serve --job 9
    python -m backend.training.serve --out DIR --set artifact=DIR [--set idle_minutes=30 …]

The server is `transformers serve`, or `vllm serve` where that is installed and there is a GPU. Once it
answers, OUT/endpoint.json and an event of the job hold `base_url`, `host`, `port` and `model`: all that an
endpoint needs. SIGTERM or a cancelled job ends the server first, then this program.
"""

import argparse
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import select

from backend.db.engine import Database
from backend.db.job_tables import Artifact, Job, JobEvent
from backend.db.migrate import migrate
from backend.errors import UserError
from backend.jobs.report import STOPPED, JobReport
from backend.jobs.vocabulary import ArtifactKind, EventKind
from backend.settings import Settings
from backend.text import number_of
from backend.training.served_folder import arrange, threads
from backend.training_runs.config import ARTIFACT, LATEST
from backend.training_runs.config_serve import ServeSettings, parse_serve

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
TRIES = 3
_ODD = re.compile(r"[^\w.-]")
Tell = Callable[[dict[str, Any]], None]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """The server's process: its output passed on, the last request remembered."""

    def __init__(self, command: list[str], folder: Path, address: str, extra: dict[str, str]) -> None:
        self.address = address
        self.lines: deque[str] = deque(maxlen=40)
        self.last_request = time.monotonic()
        # Everything is on this disk already; and its list of models reads the cache, which must exist.
        cache = folder / "hub"
        cache.mkdir(exist_ok=True)
        environment = (
            extra
            | os.environ
            | {
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_CACHE": str(cache),
                "PYTHONUNBUFFERED": "1",
            }
        )
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            with _DIRECT.open(f"{self.address}/health", timeout=2) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End it, politely first."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.strip())
                if '"POST /v1/' in line:
                    self.last_request = time.monotonic()
                if '"GET /health' not in line:
                    print(line, end="", flush=True)


def serve(settings: ServeSettings, model: Path, out: Path, report: JobReport, tell: Tell) -> bool:
    """Serve until asked to stop (True) or idle for long enough (False). Raises UserError if it fails."""
    called = model.parent.name if model.name == "artifact" else model.name
    name = settings.model or f"zhufu-{_ODD.sub('-', called)}"
    server = _started(settings, _merged(model, out), name, out, report)
    try:
        if report.stop_requested():
            return True
        _announce(settings, server, name, out, report, tell)
        return _wait(settings, server, report)
    finally:
        server.stop()


def _started(settings: ServeSettings, model: Path, name: str, out: Path, report: JobReport) -> Server:
    # `transformers serve` knows a model by the path it was given only: a folder here gives it a short one.
    arrange(model, out / name)
    for last in (False,) * (TRIES - 1) + (True,):
        port = settings.port or _free_port(settings.host)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        server = Server(_command(settings, name, port), out, f"http://{host}:{port}", threads(model))
        try:
            if _up(settings, server, report):
                return server
        except BaseException:
            server.stop()
            raise
        server.stop()
        taken = any("address already in use" in line.lower() for line in server.lines)
        if last or settings.port or not taken:
            break
    raise _cannot_start(server)


def _up(settings: ServeSettings, server: Server, report: JobReport) -> bool:
    report.progress(0.0, "starting")
    until = time.monotonic() + settings.start_seconds
    while time.monotonic() < until and server.code is None:
        if report.stop_requested() or server.healthy():
            return True
        time.sleep(POLL_SECONDS)
    return False


def _wait(settings: ServeSettings, server: Server, report: JobReport) -> bool:
    server.last_request = time.monotonic()
    while not report.stop_requested():
        if server.code is not None:
            raise _ended(server)
        if settings.idle_minutes and time.monotonic() - server.last_request > 60 * settings.idle_minutes:
            report.log(f"no request for {settings.idle_minutes:g} minutes: stopping")
            return False
        time.sleep(POLL_SECONDS)
    return True


def _announce(
    settings: ServeSettings, server: Server, name: str, out: Path, report: JobReport, tell: Tell
) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    found = {"base_url": f"{server.address}/v1", "host": settings.host, "port": port, "model": name}
    draft = out / "endpoint.json.new"
    draft.write_text(json.dumps(found), "utf-8")
    draft.replace(out / "endpoint.json")
    print(f"serving {name} at {found['base_url']}", flush=True)
    report.progress(1.0, f"{name} @ {found['base_url']}")
    tell(found)


def _command(settings: ServeSettings, name: str, port: int) -> list[str]:
    where = ["--host", settings.host, "--port", str(port)]
    if _engine(settings) == "vllm":
        return ["vllm", "serve", name, "--served-model-name", name, *where]
    return [sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", name, *where]


def _engine(settings: ServeSettings) -> str:
    there = importlib.util.find_spec("vllm") is not None
    if settings.engine == "vllm" and not there:
        raise UserError(
            "engine = vllm, but vLLM is not installed; install it or set engine=transformers.",
            "engine = vllm，但没有安装 vLLM，请安装或改为 transformers。",
        )
    if settings.engine != "auto":
        return settings.engine
    return "vllm" if there and Path("/dev/nvidia0").exists() else "transformers"


def _merged(model: Path, out: Path) -> Path:
    """The model itself; of an adapter, the model with its base."""
    if not (model / "adapter_config.json").is_file():
        return model.resolve()
    folder = out / "merged"
    if not (folder / "config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        from backend.training.models import load_tokenizer

        load_tokenizer(str(model)).save_pretrained(folder)
        AutoPeftModelForCausalLM.from_pretrained(model, dtype="auto").merge_and_unload().save_pretrained(
            folder
        )
    return folder.resolve()


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _cannot_start(server: Server) -> UserError:
    said = server.lines[-1] if server.lines else "no output"
    return UserError(f"The model server did not start ({said}).", f"模型服务未能启动（{said}）。")


def _ended(server: Server) -> UserError:
    said = server.lines[-1] if server.lines else "no output"
    return UserError(
        f"The model server ended with code {server.code} ({said}).",
        f"模型服务意外退出，代码 {server.code}（{said}）。",
    )


def find_policy(database: Database, wish: str) -> Path:
    """Folder of "latest", "artifact:N" or a path. Raises UserError where there is no model."""
    if wish == LATEST or wish.startswith(ARTIFACT):
        query = select(Artifact.path).where(Artifact.kind == ArtifactKind.POLICY)
        if wish != LATEST:
            query = query.where(Artifact.id == number_of(wish.removeprefix(ARTIFACT)))
        with database.read() as session:
            found = session.scalar(query.order_by(Artifact.id.desc()).limit(1))
        folder = Path(found) if found else None
    else:
        folder = Path(wish).expanduser()
    names = ("config.json", "adapter_config.json")
    if folder is None or not any((folder / name).is_file() for name in names):
        raise UserError(
            f"There is no trained policy “{wish}”; train one first, or name its folder.",
            f"没有训练好的模型“{wish}”，请先训练，或填写其文件夹。",
        )
    return folder


def main() -> NoReturn:
    """Exits 0 (idle), 75 (asked to stop), 2 (a sentence on stderr)."""
    options = _parser().parse_args()
    try:
        house = Settings.load()
        with closing(Database(house.url)) as database:
            if options.job is None:
                migrate(database)
            asked = _run(options, house, database)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    sys.exit(STOPPED if asked else 0)


def _run(options: argparse.Namespace, house: Settings, database: Database) -> bool:
    with JobReport(database if options.job is not None else None, options.job) as report:
        settings, out = _wish(options, house, database)
        out.mkdir(parents=True, exist_ok=True)
        model = find_policy(database, settings.artifact)
        return serve(settings, model, out, report, lambda found: _tell(database, options.job, found))


def _wish(options: argparse.Namespace, house: Settings, database: Database) -> tuple[ServeSettings, Path]:
    if options.job is None:
        pairs = dict(text.partition("=")[::2] for text in options.set)
        return parse_serve(pairs), options.out.resolve()
    with database.read() as session:
        job = session.get(Job, options.job)
        if job is None or job.kind != "serve":
            raise UserError(
                f"There is no serve job {options.job}.", f"没有编号为 {options.job} 的 serve 任务。"
            )
        config, log = dict(job.config), job.log_path
    out = Path(log).parent if log else house.home.resolve() / "runs" / str(options.job)
    return parse_serve(config), out


def _tell(database: Database, job_id: int | None, found: dict[str, Any]) -> None:
    if job_id is None:
        return
    data = {"text": f"serving {found['model']} at {found['base_url']}", **found}
    with database.write() as session:
        session.add(JobEvent(job_id=job_id, kind=EventKind.LOG, data=data))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m backend.training.serve")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--job", type=int, help="run this job of the database")
    where.add_argument("--out", type=Path, help="run by hand, with this folder for its files")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="one setting")
    return parser


if __name__ == "__main__":
    main()
