"""Start to first page, beside a bare Gradio application in the same run: `python -m bench.first_page`."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from backend.core.settings import PROJECT_ROOT, Settings
from backend.services import build_services
from tests.real_app import free_port
from ui.shell.app import SITE_PAGES

BARE = """
import sys, warnings, gradio as gr, uvicorn
from fastapi import FastAPI
warnings.simplefilter("ignore")
def page():
    for _ in range(10):
        gr.Button("x").click(lambda text: text, gr.Textbox(), gr.HTML())
with gr.Blocks(analytics_enabled=False) as demo:
    page()
for number in range(int(sys.argv[2])):
    with demo.route(f"page {number}"):
        page()
app = gr.mount_gradio_app(FastAPI(), demo, path="/zh", ssr_mode=False)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


def seconds(command: list[str], port: int, home: Path) -> float:
    """Wall-clock from the start of the process to its first answered page."""
    env = os.environ | {"ZHUFU_HOME": str(home), "ZHUFU_PORT": str(port)}
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - begun < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/zh/", timeout=5):
                    return time.perf_counter() - begun
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        raise SystemExit("no page within two minutes")
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Alternate rounds of both in one run, print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp())
    services = build_services(Settings(home=folder))
    services.prepare()
    services.close()
    taken: dict[str, list[float]] = {"Gradio, one page": [], "Gradio, as many pages": [], "Zhufu": []}
    for _ in range(rounds):
        for name, times in taken.items():
            port = free_port()
            pages = str(len(SITE_PAGES) - 1) if name == "Gradio, as many pages" else "0"
            command = ["app.py"] if name == "Zhufu" else ["-c", BARE, str(port), pages]
            times.append(seconds([sys.executable, *command], port, folder))
    shutil.rmtree(folder)
    medians = {name: sorted(times)[rounds // 2] for name, times in taken.items()}
    for name, median in medians.items():
        print(f"{name:<24} {median:6.2f} s   Zhufu / this {medians['Zhufu'] / median:.2f}")


if __name__ == "__main__":
    main()
