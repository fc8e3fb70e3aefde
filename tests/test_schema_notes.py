"""Every column of every artifact is explained, once, and nothing else is."""

import pytest

from rsgrpo_cli import schemas
from rsgrpo_cli.schema_notes import NOTES

KINDS = {kind.name: kind for kind in vars(schemas).values() if isinstance(kind, schemas.ArtifactSchema)}


def test_every_artifact_has_notes() -> None:
    assert list(NOTES.keys() ^ KINDS.keys()) == []


@pytest.mark.parametrize("name", KINDS)
def test_every_column_has_a_note_in_the_order_of_the_file(name: str) -> None:
    assert list(NOTES[name]) == KINDS[name].schema.names, "say in rsgrpo_cli/schema_notes.py what the column means"
    assert all(NOTES[name].values())
