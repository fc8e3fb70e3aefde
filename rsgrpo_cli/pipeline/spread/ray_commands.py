"""Whole commands on a Ray cluster: the cells of a sweep."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import package_versions
from rsgrpo_cli.errors import MissingError, RsgrpoError, UsageError
from rsgrpo_cli.pipeline.spread.ray_actors import connect, environment, nodes
from rsgrpo_cli.pipeline.spread.worker import require_same_versions
from rsgrpo_cli.wording import SHARE_THE_RUN


class _Command:
    """What runs in an actor: one command, which can be sent signals meanwhile."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early = 0

    def run(self, words: list[str], folder: Path, log: Path, more: dict[str, str], versions: dict[str, str]) -> int:
        """`rsgrpo WORDS` in a folder, to its end; its exit code.

        Raises:
            EngineError, MissingError: If this machine has other packages, or does not see the folder.
        """
        require_same_versions(package_versions(), versions, host := socket.gethostname())
        if not log.parent.is_dir():
            raise MissingError(f"{host} does not see {log.parent}", SHARE_THE_RUN)
        command = [sys.executable, "-P", "-m", "rsgrpo_cli", *words]
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **more},
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        if self._early:
            self._process.send_signal(self._early)
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send it one, at once or as soon as it has started."""
        self._early = number
        if self._process is not None:
            self._process.send_signal(number)


def _end_with_parent() -> None:
    """Have the kernel kill this process with the thread that started it: where a worker is lost, another goes on."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


@dataclass(slots=True)
class RayCommand:
    """A command on a cluster; see `studies.jobs.Process`."""

    actor: Any
    ended: Any
    why: str = ""
    lost: bool = False
    code: int | None = field(default=None)

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        if self.code is None and ray.wait([self.ended], timeout=0)[0]:
            try:
                self.code = int(ray.get(self.ended))
            except RayTaskError as error:  # what `run` raises
                cause = error.cause
                self.code, self.why = 1, cause.message if isinstance(cause, RsgrpoError) else str(cause)
            except RayError:
                self.code, self.lost, self.why = 1, True, "its worker is gone"
            with suppress(Exception):
                ray.kill(self.actor)
        return self.code

    def send_signal(self, number: int) -> None:
        """Pass a signal on."""
        with suppress(Exception):  # it is gone; `poll` says so
            self.actor.signal.remote(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class RayCommands:
    """Starts commands on a cluster; each has its CPUs, and a GPU where there are some.

    Args:
        address: As of `ray_actors.connect`.
        threads: CPUs of each.
        gpus: Whether they use GPUs where there are some.

    Raises:
        DependencyError, EngineError: If there is no cluster.
        UsageError: If it has no room for a single one.
    """

    def __init__(self, address: str, threads: int, *, gpus: bool) -> None:
        connect(address)
        found = nodes()
        self._cpus, self._gpus = threads, int(gpus and any(node.get("GPU") for node in found))
        self.room = sum(self._fit(node) for node in found)
        if not self.room:
            have = ", ".join(f"{node.get('CPU', 0):g} CPUs" for node in found)
            raise UsageError(
                f"no node of the Ray cluster has {threads} CPUs for a run; its nodes have {have}", "fewer --threads"
            )

    def _fit(self, node: Mapping[str, float]) -> int:
        cpus = int(node.get("CPU", 0)) // self._cpus
        return min(cpus, int(node.get("GPU", 0))) if self._gpus else cpus

    def start(self, words: Sequence[str], log: Path, more: Mapping[str, str]) -> RayCommand:
        """Begin one; it waits until there is room.

        Args:
            words: Arguments of `rsgrpo`.
            log: Where its output goes.
            more: Environment variables.
        """
        import ray

        options = {"num_cpus": self._cpus, "num_gpus": self._gpus, "max_restarts": 0, "max_concurrency": 2}
        passed = {"env_vars": {**environment(self._cpus), **more}}
        actor = ray.remote(_Command).options(**options, scheduling_strategy="SPREAD", runtime_env=passed).remote()
        asked = (list(words), Path.cwd(), log.absolute(), dict(more), dict(package_versions()))
        return RayCommand(actor, actor.run.remote(*asked))
