import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semcycle.errors import LayoutError
from semcycle.report.serve import find_file, find_page, make_server


@pytest.fixture
def folder(tmp_path):
    """A folder with a page, a picture below, a hidden file, and links that lead out of it and stay in it."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "served-not").mkdir()
    (tmp_path / "served-not" / "index.html").write_text("secret")
    root = tmp_path / "served"
    (root / "report").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_text("<p>page</p>")
    (root / "a b.csv").write_text("a,b")
    (root / "report" / "index.html").write_text("report")
    (root / ".hidden").write_text("secret")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "out").symlink_to(tmp_path / "served-not")
    (root / "in.html").symlink_to(root / "index.html")
    return root


@pytest.fixture
def ask(folder):
    with make_server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def asked(path, method="GET", host=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            headers = {"Host": host} if host else {}
            connection.putrequest(method, path, skip_host=host is not None)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer, body

        asked.port = server.server_port
        yield asked
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", b"<p>page</p>"),
        ("/index.html?x=1", b"<p>page</p>"),
        ("/a%20b.csv", b"a,b"),
        ("/report/", b"report"),
        ("/in.html", b"<p>page</p>"),
    ],
)
def test_files_of_the_folder_are_served(ask, path, body):
    answer, content = ask(path)
    assert (answer.status, content) == (200, body)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/report/../../secret.txt", "//secret.txt"),
        *(
            "/out.txt",
            "/out/",
            "/out/index.html",
            "/../served-not/index.html",
            "/.hidden",
            "/report/..%5c..%5csecret.txt",
        ),
        *("/empty/", "/nothing", "/%00", "/etc/passwd", "//etc/passwd", "/index.html%00.txt"),
    ],
)
def test_nothing_else_is(ask, path):
    answer, content = ask(path)
    assert answer.status == 404
    assert b"secret" not in content
    assert b"root:" not in content


def test_no_other_name_and_no_writing(ask):
    for host in ("evil.example", f"evil.example:{ask.port}", "", "127.0.0.1:1"):
        answer, content = ask("/", host=host)
        assert answer.status == 403
        assert b"page" not in content
    assert ask("/", host=f"localhost:{ask.port}")[0].status == 200
    assert ask("/favicon.ico")[0].status == 204
    answer, content = ask("/", method="HEAD")
    assert (answer.status, content) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        assert ask("/", method=method)[0].status == 501


def test_the_server_listens_on_loopback_alone(folder):
    with make_server(folder) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.server_port > 0


def test_a_page_is_found_or_missed_in_words(folder, tmp_path):
    assert find_page(folder) == "index.html"
    (folder / "index.html").unlink()
    assert find_page(folder) == "report/index.html"
    (folder / "in.html").unlink()
    (folder / "report" / "index.html").unlink()
    with pytest.raises(LayoutError, match="no other pages"):
        find_page(folder)
    (folder / "one_report.html").write_text("")
    assert find_page(folder) == "one_report.html"
    with pytest.raises(LayoutError, match="found none"):
        find_page(tmp_path / "nowhere")
    assert find_file(folder.resolve(), "/one_report.html") == folder.resolve() / "one_report.html"


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "semcycle.cli", "view", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        cwd=Path(__file__).parent,
    )


def test_view_serves_until_it_is_interrupted(folder):
    process = start(folder, "--no-browser")
    try:
        address = process.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:")
        port = int(address.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/index.html")
        assert connection.getresponse().read() == b"<p>page</p>"
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_view_refuses_what_it_cannot_serve(tmp_path, folder):
    process = start(tmp_path / "nowhere", "--no-browser")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "expected a folder made by semcycle" in errors
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(folder, "--no-browser", "--port", taken.getsockname()[1])
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "free port" in errors


def test_links_to_hidden_files_are_not_followed(folder):
    (folder / "shown.txt").symlink_to(folder / ".hidden")
    assert find_file(folder, "/shown.txt") is None
    assert find_file(folder, "/in.html") is not None


def test_half_open_connections_take_no_more_threads_than_there_is_room_for(ask):
    from semcycle.report import serve

    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", ask.port)) for _ in range(serve.MOST + 40)]
    closed = 0
    for connection in silent[serve.MOST :]:
        connection.settimeout(10)
        closed += connection.recv(1) == b""
    assert closed == 40
    assert threading.active_count() <= before + serve.MOST
    for connection in silent:
        connection.close()
    for _ in range(100):
        try:
            assert ask("/")[0].status == 200
            break
        except (ConnectionError, http.client.HTTPException):
            continue
    else:
        raise AssertionError
