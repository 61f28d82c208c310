"""`python -m semcycle.cli`."""

from semcycle.cli import main

main()
