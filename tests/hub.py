"""A stand-in for the hub on this machine: a few repositories, and the ways in which a hub refuses.

It answers what ``huggingface_hub`` asks for: the list of a repository's files, and the files.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {  # what stands in a folder's place: status, and the hub's own code for it
    "gated": (403, "GatedRepo"),
    "missing": (404, "RepoNotFound"),
}


class Hub:
    """A server on a free port of 127.0.0.1, until :meth:`close`.

    Args:
        repositories: "owner/model" -> its folder, or one of ``REFUSALS``. All others are missing.
            Where the name ends in "broken", connections break in the middle of weights.

    Attributes:
        url: of the server; asked: the paths that were asked for.
    """

    def __init__(self, repositories: Mapping[str, Path | str]):
        self.repositories, self.asked = dict(repositories), []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Afterwards nobody listens at the port."""
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str) -> tuple[int, str | None, bytes]:
        """Status, the hub's own code, and the body for a path."""
        words = unquote(urlsplit(path).path).strip("/").split("/")
        if words[:2] == ["api", "models"]:
            words = words[2:]
            name, what, rest = "/".join(words[:2]), words[2:3], words[3:]
        else:
            name, what, rest = "/".join(words[:2]), words[2:3], words[3:]
        place = self.repositories.get(name, "missing")
        if place == "missing" or (place == "gated" and what == ["resolve"]):
            return (*REFUSALS[place], b"")
        if rest[:1] not in ([], ["main"], [COMMIT]):
            return 404, "RevisionNotFound", b""
        files = [] if isinstance(place, str) else sorted(p for p in place.rglob("*") if p.is_file())
        if what == ["resolve"]:
            file = place / "/".join(rest[1:])
            return (200, None, file.read_bytes()) if file.is_file() else (404, "EntryNotFound", b"")
        if what == ["tree"]:
            if rest[1:]:
                return 404, "EntryNotFound", b""
            listed = [self._entry(file, place) for file in files]
            return 200, None, json.dumps(listed).encode()
        return 200, None, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode()

    @staticmethod
    def _entry(file: Path, place: Path) -> dict:
        path = file.relative_to(place).as_posix()
        return {"type": "file", "path": path, "size": file.stat().st_size, "oid": COMMIT}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(with_body=True)

        def do_HEAD(self) -> None:
            self._send(with_body=False)

        def _send(self, with_body: bool) -> None:
            if with_body:
                hub.asked.append(self.path)
            status, code, body = hub.answer(self.path)
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not with_body:
                return
            breaks = "broken/" in self.path and self.path.endswith(".safetensors")
            self.wfile.write(body[: len(body) // 2] if breaks else body)
            self.close_connection = True

        def log_message(self, *_) -> None:
            pass

    return Handler
