"""The study as a small web page: the standard library's server, on this machine alone by default.

A page never learns which recipe drew a picture, nor whether a trial is a repeat or a catch. Names
of files are digests, and only files that the study lists are served.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from .session import Session
from .study import StudyError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BYTES = 65_536  # of a request's body
MOST_SECONDS = 30  # that a connection may stay silent
POLICY = "default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def asked(session: Session, path: str, body: dict) -> dict:
    """What a POST to a path is answered with.

    Raises:
        StudyError: no such path, a field of the wrong kind, or what the session refuses.
    """

    def field(name: str, kind: type) -> Any:
        value = body.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise StudyError(f"{name!r} is missing or of the wrong kind: reload the page")
        return value

    if path == "/enroll":
        return session.enroll(field("name", str), str(body.get("code", "")))
    if path == "/trial":
        return {"next": session.trial(field("code", str))}
    if path == "/vote":
        answers = {str(name): str(answer) for name, answer in field("answers", dict).items()}
        took = min(max(field("milliseconds", int), 0), 10**9)
        return session.vote(field("code", str), field("number", int), answers, took)
    raise StudyError(f"there is nothing at {path}: reload the page")


class Handler(BaseHTTPRequestHandler):
    """One request; the server carries the session."""

    server: StudyServer
    protocol_version = "HTTP/1.1"
    timeout = MOST_SECONDS

    def do_GET(self) -> None:
        if not self._is_for_us():
            return
        path = self.path.partition("?")[0].lstrip("/")
        if not path:
            page = files(__package__).joinpath("page.html").read_bytes()
            self._send(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif path in self.server.session.files:
            data = (self.server.session.study.folder / path).read_bytes()
            self._send(HTTPStatus.OK, data, "image/png")
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})

    def do_POST(self) -> None:
        if not self._is_for_us():
            return
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MOST_BYTES:
                raise ValueError(f"a body of {length} bytes")
            body = json.loads(self.rfile.read(length))
            if not isinstance(body, dict):
                raise ValueError("not an object")
        except ValueError as error:
            self.close_connection = True  # what is left of the body is no request
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": f"unreadable request: {error}"})
            return
        try:
            self._send_json(HTTPStatus.OK, asked(self.server.session, self.path, body))
        except StudyError as error:
            self._send_json(HTTPStatus.CONFLICT, {"error": str(error)})

    def _is_for_us(self) -> bool:
        """On loopback, refuse names that another site has made to point here (DNS rebinding)."""
        try:
            host = urlsplit("//" + self.headers.get("Host", "")).hostname
        except ValueError:
            host = None
        if self.server.is_open or host in LOOPBACK:
            return True
        self.close_connection = True
        self._send_json(HTTPStatus.FORBIDDEN, {"error": "open this page by its own address"})
        return False

    def _send_json(self, status: HTTPStatus, value: dict) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: who votes how is nobody's business on a terminal."""


class StudyServer(ThreadingHTTPServer):
    """A server of one study; ``address`` is what a browser opens.

    Raises:
        StudyError: the port is in use, or the host is none of this machine's.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # Windows would let two servers have one port

    def __init__(self, session: Session, host: str = "127.0.0.1", port: int = 0):
        self.session, self.is_open = session, host not in LOOPBACK
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise StudyError(f"port {port} is in use: choose another with --port") from error
            raise StudyError(f"cannot serve on {host}, port {port}: {error}") from error

    @property
    def address(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def handle_error(self, request, client_address) -> None:
        """A browser that went away is no news; a bug is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
