"""`python -m stp`."""

from stp.cli import main

main()
