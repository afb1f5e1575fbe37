"""Run the commands with `python -m`."""

from .cli import main

main()
