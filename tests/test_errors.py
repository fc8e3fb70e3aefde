"""What an error of other people's code says, in one line."""

import pytest

from rsgrpo_cli.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such column.\nIt has: a, b"), "no such column"),
        (ValueError("\n  torch.compile failed  \n"), "torch.compile failed"),
        (ValueError("cannot read these:\n  a.json\n  b.json"), "cannot read these: a.json"),
        (KeyError("rope"), "'rope'"),
        (NotImplementedError(), "NotImplementedError"),
        (NotImplementedError(" \n"), "NotImplementedError"),
    ],
)
def test_an_error_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_what_is_said_of_an_error_without_a_message_is_up_to_the_caller() -> None:
    assert first_line(NotImplementedError(), silent="") == ""
    assert first_line(NotImplementedError("so"), silent="") == "so"
