"""python -m contentfilter."""

from contentfilter.cli import main

main()
