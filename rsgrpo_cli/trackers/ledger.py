"""What of a run a tracker has: the id of its series, the last step, the evaluations. A JSON file beside its files."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import read_json, write_json
from rsgrpo_cli.errors import ArtifactError


def own_folder(run: Path, name: str) -> Path:
    """The folder of a run for its trackers, with one of this tracker's own in it.

    Raises:
        ArtifactError: If one of them is a symbolic link.
    """
    folder = run / "trackers"
    linked = next((path for path in (folder, folder / name) if path.is_symlink()), None)
    if linked is not None:
        raise ArtifactError(f"{linked} is a symbolic link: nothing is written through it", "remove the link")
    disk.make_directory(folder / name)
    return folder


@dataclass(frozen=True, slots=True)
class Sent:
    """What a tracker has.

    Args:
        id: Of the series.
        step: The last one sent; -1 before the first.
        evaluations: "POLICY/BENCHMARK" -> id of what was sent of it.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    step: int = -1
    evaluations: dict[str, str] = field(default_factory=dict)


class Ledger:
    """The file; what is about to be sent is noted before, so that a crash in between sends nothing twice.

    Args:
        path: The file; it need not be there yet.

    Raises:
        ArtifactError: If it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.sent = path, Sent()
        if path.is_file():
            found = read_json(path, id=str, step=int, evaluations=dict)
            self.sent = Sent(found["id"], found["step"], dict(found["evaluations"]))

    @contextmanager
    def noting(self, **changed: Any) -> Iterator[None]:
        """Write down what the block sends; where it fails, that it was not sent."""
        before = self.sent
        self.write(replace(before, **changed))
        try:
            yield
        except Exception:
            self.write(before)
            raise

    def write(self, sent: Sent) -> None:
        """Write down that the tracker has this."""
        self.sent = sent
        write_json(self.path, asdict(sent))
