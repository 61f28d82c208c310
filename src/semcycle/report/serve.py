"""Serve: a folder of pages on this machine alone, and nothing but that folder."""

from __future__ import annotations

import io
import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from semcycle.errors import LayoutError

HOST = "127.0.0.1"
MOST = 64
"""Connections at a time; a browser opens six."""

PAGES = ("index.html", "report/index.html", "quality/index.html")
"""Where a folder's page is looked for, in this order."""

POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def find_page(folder: Path) -> str:
    """The page of a folder, as a path in it: ``index.html``, also in ``report`` or ``quality``, or its only page.

    Raises:
        LayoutError: The folder is missing, has no page, or has several and none that leads to them.
    """
    if not folder.is_dir():
        msg = f"{folder}: expected a folder made by semcycle, found none; check the path"
        raise LayoutError(msg)
    for page in PAGES:
        if (folder / page).is_file():
            return page
    names = sorted(path.name for path in folder.glob("*.html"))
    if len(names) == 1:
        return names[0]
    msg = (
        f"{folder}: expected {' or '.join(PAGES)}, got {len(names) or 'no'} other pages; "
        "name a folder that predict, score, paper, demo or prepare left"
    )
    raise LayoutError(msg)


def make_server(folder: Path, port: int = 0) -> FolderServer:
    """A server of a folder on the loopback address; call its ``serve_forever``.

    It answers GET and HEAD for files that lie in the folder once links are followed, lists no folders, shows no hidden
    files, and answers only requests that name this machine, so that no web page can read through it.

    Args:
        folder: What is served.
        port: 0 takes a free one; ``server.server_port`` says which.

    Raises:
        OSError: The port is taken.
    """
    return FolderServer((HOST, port), partial(FolderHandler, directory=str(folder.resolve(strict=True))))


def find_file(root: Path, address: str) -> Path | None:
    """The file that a request's path names, or ``None`` where there is none to show.

    Args:
        root: The folder, resolved.
        address: Path of the request, quoted, perhaps with a query.
    """
    words = unquote(urlsplit(address).path).split("/")[1:]
    if any(word.startswith(".") or "\\" in word or "\0" in word for word in words):
        return None
    try:
        path = root.joinpath(*words).resolve(strict=True)
    except (OSError, ValueError):
        return None
    if path.is_dir():
        path = (path / "index.html").resolve()
    if not path.is_file() or not path.is_relative_to(root):
        return None
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)  # behind a link
    return None if hidden else path


class FolderServer(ThreadingHTTPServer):
    """A server that answers at most ``MOST`` connections at a time and closes the others at once."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        super().__init__(address, handler)
        self._room = threading.BoundedSemaphore(MOST)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, where there is room for one."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()


class FolderHandler(SimpleHTTPRequestHandler):
    """Answers requests for the files of its ``directory`` that call this machine by its own name."""

    timeout = 10
    """Seconds that a connection may be silent."""
    server_version = "semcycle"
    sys_version = ""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Refuse requests that came by another name: a page elsewhere may have had that name point here."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif urlsplit(self.path).path == "/favicon.ico":
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            return super().send_head()
        return None

    def translate_path(self, path: str) -> str:
        """The file to send, or an empty name, which is found nowhere; never a folder, so none is listed."""
        return str(find_file(Path(self.directory), path) or "")

    def guess_type(self, path: Any) -> str:
        """Type of a file; texts are UTF-8."""
        kind = super().guess_type(path)
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    def end_headers(self) -> None:
        """Add what keeps a page from reaching out, and others from reaching in."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Stay silent."""
