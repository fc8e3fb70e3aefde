"""Writes docs/cli.md, the help of every command: `python scripts/cli_reference.py`; --check only compares."""

from __future__ import annotations

import os
import subprocess
import sys

from page_writer import DOCS, finish, heading

from rsgrpo_cli.app import COMMANDS

PAGE = DOCS / "cli.md"


def help_of(*command: str) -> str:
    """What `rsgrpo COMMAND --help` prints, 100 columns wide and without colours."""
    environment = {**os.environ, "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    environment.pop("RSGRPO_RUN", None)
    arguments = [sys.executable, "-c", "from rsgrpo_cli.app import main; main()", *command, "--help"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    lines = [line.rstrip() for line in result.stdout.replace("-c [OPTIONS]", "rsgrpo [OPTIONS]").splitlines()]
    return "\n".join(lines).replace("Usage: -c ", "Usage: rsgrpo ").strip("\n")


def page() -> str:
    """The whole page."""
    names = ["", *(name for name, *_ in COMMANDS)]
    parts = [f"## rsgrpo {name}".rstrip() + f"\n\n```text\n{help_of(*name.split())}\n```\n" for name in names]
    return "\n".join([heading("Commands", "cli_reference.py", "the commands' own help"), *parts])


def main() -> None:
    """Write the page, or say that it is out of date."""
    finish(__doc__, lambda: {PAGE: page()})


if __name__ == "__main__":
    main()
