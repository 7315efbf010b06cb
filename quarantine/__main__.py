"""python -m quarantine."""

from quarantine.cli import main

main()
