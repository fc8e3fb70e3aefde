"""Runs the commands of a page and puts what they print below them: `python scripts/page_outputs.py docs/NAME.md`.

They run in an empty folder, in order, together with the files that the page has its reader write. Blocks with a note
(see tests/test_page_commands.py) are left alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from console_blocks import SHELL, Block, blocks


def outputs(block: Block, folder: Path) -> str:
    """The block's text with each command followed by what it printed."""
    parts: list[str] = []
    for typed in block.text.replace("\\\n", "\\\0").splitlines():
        if typed.startswith("$ "):
            line = typed.replace("\0", "\n")
            parts.append(line + "\n" + run(line[2:], folder))
    return "".join(parts)


def run(command: str, folder: Path) -> str:
    """What a command prints on 80 columns; of the progress on stderr only the steps of `train`."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
    environment = known | {"COLUMNS": "80", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    progress = subprocess.STDOUT if command.startswith("rsgrpo train") else subprocess.PIPE
    shell = ["bash", "-c", command]
    pipe = subprocess.PIPE
    done = subprocess.run(shell, cwd=folder, env=environment, stdout=pipe, stderr=progress, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout}{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.strip("\n").splitlines())


def main() -> None:
    """Fill in each page that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    for page in parser.parse_args().pages:
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            for block in blocks(page):
                if block.file:
                    (Path(folder) / block.file).write_text(block.text, encoding="utf-8")
                if block.language in SHELL and block.commands and not block.note:
                    text = text.replace(block.text, outputs(block, Path(folder)), 1)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
