"""``python -m engine`` is the command ``nucleus``."""

from engine.cli import main

main()
