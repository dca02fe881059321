"""``python -m fsagent``."""

from fsagent.cli import main

main()
