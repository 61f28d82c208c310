"""`python -m semcycle.cli`."""

from __future__ import annotations

from semcycle.cli import main

main()
