"""`python -m unmask`."""

from unmask.app.cli import main

main()
