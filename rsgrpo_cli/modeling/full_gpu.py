"""A GPU whose memory has run out: how that is told from other failures, and told to the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rsgrpo_cli.errors import EngineError, RsgrpoError

_SAID = re.compile(r"CUDA error: out of memory|(CUBLAS|CUSOLVER|CUDNN)_STATUS_ALLOC_FAILED")


def is_full(error: BaseException) -> bool:
    """Whether an error says that a GPU has no memory left: torch's allocator, the driver, or a library of NVIDIA's."""
    if isinstance(error, RsgrpoError):
        return False
    if type(error).__name__ == "OutOfMemoryError" or _SAID.search(str(error)):
        return True
    # While a graph is recorded, the end of the recording fails for it with an error of its own.
    return error.__context__ is not None and is_full(error.__context__)


@contextmanager
def explained(message: str, hint: str) -> Iterator[None]:
    """Say in one line that the GPU has run out of memory, and what to do; for a block or a whole function.

    Raises:
        EngineError: If it has.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_full(error):
            raise
        raise EngineError(message, hint) from error
