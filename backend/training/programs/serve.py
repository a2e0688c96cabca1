"""`python -m backend.training.programs.serve`: a trained policy behind an OpenAI-compatible address, until stopped."""

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
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NoReturn

from backend.core.enums import ArtifactKind, EventKind
from backend.core.errors import Message, UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.job_tables import JobEvent
from backend.db.migrate import migrate
from backend.generation.serving import ARTIFACT_PREFIX, LATEST, SERVE_KIND, ServeSettings, parse_serve_settings
from backend.jobs.report import STOPPED, JobReport
from backend.training.messages import IDLE_STOP, MERGING, SERVED_AT, SERVING, STARTING
from backend.training.programs.base_files import check_weight_files
from backend.training.programs.command_line import artifact_query, build_parser, read_job
from backend.training.programs.environment import assigned_gpus
from backend.training.programs.served_folder import arrange_folder, is_float16, thread_environment

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0
START_TRIES = 3
TRANSFORMERS_MODULE = "transformers.cli.transformers"
# What the script `vllm` runs.
VLLM_MODULE = "vllm.entrypoints.cli.main"
VLLM_IMPORT_SECONDS = 120.0
_ODD_CHARACTERS = re.compile(r"[^\w.-]")
AnnounceEndpoint = Callable[[dict[str, Any]], None]
# Past any proxy of the environment, which cannot reach this machine's own address.
_DIRECT_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StoppedBeforeStart(Exception):
    """Serving was asked to end while the model was still being made ready."""


class ModelServer:
    """The server's process: its output passed on, the last request remembered."""

    def __init__(
        self,
        command: list[str],
        working_folder: Path,
        address: str,
        extra_environment: dict[str, str],
    ) -> None:
        self.address = address
        self.output_lines: deque[str] = deque(maxlen=40)
        self.last_request = time.monotonic()
        # Everything is on this disk already; and its list of models reads the cache, which must exist.
        cache_folder = working_folder / "hub"
        cache_folder.mkdir(exist_ok=True)
        environment = (
            extra_environment
            # What the operator has set goes before our own choice of threads.
            | os.environ
            | {
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_CACHE": str(cache_folder),
                "PYTHONUNBUFFERED": "1",
            }
        )
        self._process = subprocess.Popen(
            command,
            cwd=working_folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader_thread = threading.Thread(target=self._read_output, daemon=True)
        self._reader_thread.start()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def is_healthy(self) -> bool:
        """Whether it answers."""
        try:
            with _DIRECT_OPENER.open(f"{self.address}/health", timeout=2) as response:
                return int(response.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End it, politely first."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        # A server in the middle of a long reply does not listen; the job's own grace period must not run out.
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader_thread.join(STOP_SECONDS)

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for output_line in output:
                self.output_lines.append(output_line.strip())
                if '"POST /v1/' in output_line:
                    self.last_request = time.monotonic()
                # Our own looks, five a second while it starts, would fill the log.
                if '"GET /health' not in output_line:
                    print(output_line, end="", flush=True)


def serve(
    settings: ServeSettings,
    model_folder: Path,
    output_folder: Path,
    report: JobReport,
    announce: AnnounceEndpoint,
) -> bool:
    """Serve until asked to stop (True) or idle for long enough (False). Raises UserError if it fails."""
    folder_name = model_folder.parent.name if model_folder.name == "artifact" else model_folder.name
    # A run's model lies in its folder “artifact”; the run's own name tells more.
    model_name = settings.model or f"zhufu-{_ODD_CHARACTERS.sub('-', folder_name)}"
    with ExitStack() as held_merges:
        try:
            whole_folder = _find_whole_model(model_folder, output_folder, report, held_merges)
        except StoppedBeforeStart:
            return True
        server = _start_server(settings, whole_folder, model_name, output_folder, report)
        try:
            if report.stop_requested():
                return True
            _announce_endpoint(settings, server, model_name, output_folder, report, announce)
            return _wait_until_stopped(settings, server, report)
        finally:
            server.stop()


def _find_whole_model(model_folder: Path, output_folder: Path, report: JobReport, held_merges: ExitStack) -> Path:
    """The model's own folder; of an adapter the one where it is merged, which stays until `held_merges` closes."""
    if not (model_folder / "adapter_config.json").is_file():
        return model_folder.resolve()
    # Brings torch, which a whole model is served without.
    from backend.training.programs.merging import MergedModels

    def stop_if_requested() -> None:
        if report.stop_requested():
            raise StoppedBeforeStart

    report.progress(0.0, MERGING.fill())
    merged_models = held_merges.enter_context(MergedModels(Settings.load().home, stop_if_requested))
    return merged_models.open(model_folder, output_folder)


def _start_server(
    settings: ServeSettings, model_folder: Path, model_name: str, output_folder: Path, report: JobReport
) -> ModelServer:
    # `transformers serve` knows a model by the path it was given only: a folder here gives it a short one.
    arrange_folder(model_folder, output_folder / model_name)
    # A free port may be taken between looking and listening; another try takes another one.
    for is_last_try in (False,) * (START_TRIES - 1) + (True,):
        port = settings.port or _find_free_port(settings.host)
        url_host = f"[{settings.host}]" if ":" in settings.host else settings.host
        server = ModelServer(
            [*_server_command(settings, model_name, port), *dtype_options(settings, model_folder)],
            output_folder,
            f"http://{url_host}:{port}",
            thread_environment(model_folder),
        )
        try:
            if _wait_until_ready(settings, server, report):
                return server
        except BaseException:
            server.stop()
            raise
        server.stop()
        port_taken = any("address already in use" in output_line.lower() for output_line in server.output_lines)
        if is_last_try or settings.port or not port_taken:
            break
    raise _start_error(server)


def _wait_until_ready(settings: ServeSettings, server: ModelServer, report: JobReport) -> bool:
    report.progress(0.0, STARTING.fill())
    deadline = time.monotonic() + settings.start_seconds
    while time.monotonic() < deadline and server.exit_code is None:
        if report.stop_requested() or server.is_healthy():
            return True
        time.sleep(POLL_SECONDS)
    return False


def _wait_until_stopped(settings: ServeSettings, server: ModelServer, report: JobReport) -> bool:
    server.last_request = time.monotonic()
    while not report.stop_requested():
        if server.exit_code is not None:
            raise _ended_error(server)
        if settings.idle_minutes and time.monotonic() - server.last_request > 60 * settings.idle_minutes:
            report.log(IDLE_STOP.fill(minutes=settings.idle_minutes))
            return False
        time.sleep(POLL_SECONDS)
    return True


def _announce_endpoint(
    settings: ServeSettings,
    server: ModelServer,
    model_name: str,
    output_folder: Path,
    report: JobReport,
    announce: AnnounceEndpoint,
) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    endpoint = {"base_url": f"{server.address}/v1", "host": settings.host, "port": port, "model": model_name}
    draft_path = output_folder / "endpoint.json.new"
    draft_path.write_text(json.dumps(endpoint), "utf-8")
    draft_path.replace(output_folder / "endpoint.json")
    print(f"serving {model_name} at {endpoint['base_url']}", flush=True)
    report.progress(1.0, SERVED_AT.fill(model=model_name, base_url=endpoint["base_url"]))
    announce(endpoint)


def _server_command(settings: ServeSettings, model_name: str, port: int) -> list[str]:
    if assigned_gpus():
        # Imported here: torch takes seconds, and on a CPU the server alone needs it.
        from backend.training.programs.precision import refuse_unseen_gpu

        refuse_unseen_gpu(
            "start the worker with CUDA_VISIBLE_DEVICES empty", "启动工作进程时把 CUDA_VISIBLE_DEVICES 设为空"
        )
    module_name, name_options = TRANSFORMERS_MODULE, []
    if _choose_engine(settings) == "vllm":
        module_name, name_options = VLLM_MODULE, ["--served-model-name", model_name]
    return [
        # The modules of this very installation: a worker need not have its scripts on the PATH.
        sys.executable,
        # Keeps the folder it runs in off the path of modules, where a model's name could hide one.
        "-P",
        "-m",
        module_name,
        "serve",
        model_name,
        *name_options,
        "--host",
        settings.host,
        "--port",
        str(port),
    ]


def dtype_options(settings: ServeSettings, model_folder: Path) -> list[str]:
    """What makes a CPU compute in float32 where the file is float16, which it computes in slowly."""
    if _choose_engine(settings) == "vllm" or not is_float16(model_folder) or _may_use_gpu():
        return []
    return ["--dtype", "float32"]


def _may_use_gpu() -> bool:
    # Without loading torch, which the server will do once more.
    return os.environ.get("CUDA_VISIBLE_DEVICES") != "" and Path("/dev/nvidia0").exists()


def _choose_engine(settings: ServeSettings) -> str:
    if settings.engine == "transformers" or (settings.engine == "auto" and not Path("/dev/nvidia0").exists()):
        return "transformers"
    vllm_fault = _find_vllm_fault()
    if vllm_fault is None:
        return "vllm"
    if settings.engine == "auto":
        print(f"serving by transformers: vLLM {vllm_fault.en}", flush=True)
        return "transformers"
    raise UserError(
        f"engine = vllm, but vLLM {vllm_fault.en}; install it or set engine=transformers.",
        f"engine = vllm，但 vLLM {vllm_fault.zh}，请安装或改为 transformers。",
    )


def _find_vllm_fault() -> Message | None:
    """What is wrong with vLLM here, as the end of a sentence; None where its server can be started."""
    if importlib.util.find_spec("vllm") is None:
        return Message("is not installed", "没有安装")
    # In a process of its own: what breaks there, such as a build for another CUDA, leaves this one as it is.
    try:
        imported = subprocess.run(
            [sys.executable, "-P", "-c", f"import {VLLM_MODULE}"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=VLLM_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Message("takes too long to import", "导入超时")
    if imported.returncode == 0:
        return None
    last_line = (imported.stderr.strip() or "no output").splitlines()[-1][:200]
    return Message(f"cannot be imported ({last_line})", f"无法导入（{last_line}）")


def _find_free_port(host_address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host_address else socket.AF_INET) as probe_socket:
        probe_socket.bind((host_address, 0))
        return int(probe_socket.getsockname()[1])


def _start_error(server: ModelServer) -> UserError:
    last_output = server.output_lines[-1] if server.output_lines else "no output"
    return UserError(f"The model server did not start ({last_output}).", f"模型服务未能启动（{last_output}）。")


def _ended_error(server: ModelServer) -> UserError:
    last_output = server.output_lines[-1] if server.output_lines else "no output"
    return UserError(
        f"The model server ended with code {server.exit_code} ({last_output}).",
        f"模型服务意外退出，代码 {server.exit_code}（{last_output}）。",
    )


def find_policy(database: Database, requested_policy: str) -> Path:
    """Folder of "latest", "artifact:N" or a path. Raises UserError where there is no model, or only pickles."""
    if requested_policy == LATEST or requested_policy.startswith(ARTIFACT_PREFIX):
        with database.read() as session:
            artifact = session.scalar(artifact_query(requested_policy, ArtifactKind.POLICY))
        is_policy = artifact is not None and artifact.kind is ArtifactKind.POLICY
        policy_folder = Path(artifact.path) if artifact is not None and is_policy else None
    else:
        policy_folder = Path(requested_policy).expanduser()
    config_files = ("config.json", "adapter_config.json")
    if policy_folder is None or not any((policy_folder / file_name).is_file() for file_name in config_files):
        raise UserError(
            f"There is no trained policy “{requested_policy}”; train one first, or name its folder.",
            f"没有训练好的模型“{requested_policy}”，请先训练，或填写其文件夹。",
        )
    check_weight_files(policy_folder)
    return policy_folder


def main() -> NoReturn:
    """Exits 0 (idle), 75 (asked to stop), 2 (a sentence on stderr)."""
    options = build_parser("serve").parse_args()
    try:
        app_settings = Settings.load()
        with closing(Database(app_settings.url)) as database:
            if options.job is None:
                migrate(database)
            stop_requested = _run_server(options, app_settings, database)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    sys.exit(STOPPED if stop_requested else 0)


def _run_server(options: argparse.Namespace, app_settings: Settings, database: Database) -> bool:
    with JobReport(database if options.job is not None else None, options.job) as report:
        settings, output_folder = _resolve_settings(options, app_settings, database)
        output_folder.mkdir(parents=True, exist_ok=True)
        model_folder = find_policy(database, settings.artifact)
        return serve(
            settings,
            model_folder,
            output_folder,
            report,
            lambda found: _store_event(database, options.job, found),
        )


def _resolve_settings(
    options: argparse.Namespace, app_settings: Settings, database: Database
) -> tuple[ServeSettings, Path]:
    if options.job is None:
        assignments = dict(assignment_text.partition("=")[::2] for assignment_text in options.set)
        return parse_serve_settings(assignments), options.out.resolve()
    job_config, output_folder = read_job(database, options.job, SERVE_KIND, app_settings.home)
    return parse_serve_settings(job_config), output_folder


def _store_event(database: Database, job_id: int | None, endpoint: dict[str, Any]) -> None:
    if job_id is None:
        return
    # The address is also at the top of the row, where earlier versions look for it.
    event_data = SERVING.fill(**endpoint).to_data() | endpoint
    with database.write() as session:
        session.add(JobEvent(job_id=job_id, kind=EventKind.LOG, data=event_data))


if __name__ == "__main__":
    main()
