"""A hub on loopback that takes repositories and commits as the real one does, and remembers them."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeHub:
    """`repositories` are the requests that created one, `files` what was committed; `token` is the one it takes."""

    address: str = ""
    token: str = "hf_right"
    repositories: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """The reply to one request."""
        if path.endswith("/repos/create"):
            self.repositories.append(json.loads(body))
            return {"url": f"{self.address}/somebody/{self.repositories[-1]['name']}"}
        if "/preupload/" in path:
            named = [one["path"] for one in json.loads(body)["files"]]
            return {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitUrl": f"{self.address}/somebody/zhufu/commit/1", "commitOid": "1", "pullRequestUrl": None}
        return {"errors": [], "warnings": []}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """One that runs until the block ends."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            is_welcome = self.headers["Authorization"] == f"Bearer {hub.token}"
            reply = json.dumps(hub.answer(self.path, body) if is_welcome else {"error": "Invalid token"}).encode()
            self.send_response(200 if is_welcome else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_parts: Any) -> None:
            """Nothing to print."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
