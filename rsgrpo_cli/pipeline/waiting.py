"""A lock that is waited for: of what another command beside this one is writing and will soon let go of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from rsgrpo_cli.errors import LockedError
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import again


@contextmanager
def waiting_for(session: Session, lock: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Hold a lock for the block, once whoever has it lets go of it; what is waited for is said once.

    Raises:
        Interrupted: If asked to stop while waiting.
    """
    with ExitStack() as held:
        waiting = False
        while True:
            try:
                held.enter_context(lock())
                break
            except LockedError as error:
                if not waiting:
                    session.out.info(f"{error.message}: waiting for it")
                waiting = True
            session.stop.check("the last step", again(session))
            time.sleep(1.0)
        yield
