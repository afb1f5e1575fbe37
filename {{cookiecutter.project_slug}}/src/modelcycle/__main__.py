"""Run the commands with `python -m`."""

from modelcycle.cli import main

main()
