"""`python -m genmetrics_rt` is the `genmetrics` command."""

from genmetrics_rt.cli import main

main()
