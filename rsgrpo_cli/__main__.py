"""`python -m rsgrpo_cli`."""

from rsgrpo_cli.app import main

main()
