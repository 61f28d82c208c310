"""The verb view: show a folder's page in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.console import err, out


def view(
    folder: Annotated[Path, typer.Argument(help="Folder that predict, score, paper, demo or prepare left.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = False,
) -> None:
    """Serve a folder's page to this machine alone, until Ctrl-C."""
    import webbrowser

    from semcycle.report.serve import HOST, find_page, make_server

    page = find_page(folder)
    try:
        server = make_server(folder, port)
    except OSError as error:
        msg = f"expected a free port, got {port} ({error.strerror}); leave --port out to take any"
        raise typer.BadParameter(msg) from error
    with server:
        address = f"http://{HOST}:{server.server_port}/{page}"
        out.print(f"page: {address}")
        err.print("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
