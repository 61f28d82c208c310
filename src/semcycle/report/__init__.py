"""Report: figures, tables and self-contained pages. Functions take arrays and tables, and return; none shows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.report.scan_page import draw_scan
    from semcycle.report.scores_page import report_scores

_LAZY = {
    "draw_scan": "scan_page",
    "report_scores": "scores_page",
}
__all__ = [
    "draw_scan",
    "report_scores",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
