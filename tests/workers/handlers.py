"""What the tests run in workers: handlers that behave and handlers that do not."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def echo(value: Any) -> Any:
    return value


def behave(how: str, *arguments: Any) -> Any:
    return globals()[how](*arguments)


def hang() -> NoReturn:
    while True:
        pass


def hang_in_c() -> int:
    return len(str(9 ** (9**9)))


def leave(code: int) -> NoReturn:
    os._exit(code)


def leave_politely() -> NoReturn:
    sys.exit(3)


def crash() -> None:
    ctypes.string_at(0)


def fail() -> NoReturn:
    raise KeyError("missing")


class Interruption(BaseException):
    pass


def interrupt() -> NoReturn:
    raise Interruption("an alarm")


def hog() -> int:
    return len(bytearray(64 * 1024**3))


def speak() -> str:
    print("from print")
    os.write(1, b"from descriptor 1\n")
    return "spoken"


def not_json() -> object:
    return object()


def process() -> int:
    time.sleep(0.1)  # long enough that every worker gets its share
    return os.getpid()


def modules() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def hash_seed() -> int:
    return hash("the same in every worker")


def once(folder: str, answer: Any) -> Any:
    """Dies the first time, answers the second."""
    mark = Path(folder) / "mark"
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return answer


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def signal_children() -> list[int]:
    """The exit codes of two children, a program and a fork, that are terminated."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    fork = os.fork()
    if not fork:
        time.sleep(60)
        os._exit(0)
    time.sleep(1)
    program.terminate()
    os.kill(fork, 15)
    return [program.wait(20), os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])]


def slow_to_load(seconds: float) -> Callable[[float], str]:
    """A factory, for `setup`."""
    time.sleep(seconds)
    return nap


def adder(amount: int) -> Callable[[int], int]:
    """A factory, for `setup`."""
    return lambda value: value + amount


def meet(fate: str, number: int, mark: str) -> int:
    """Return a number unless fate decides otherwise; what happens once leaves its mark, so that it happens once."""
    first = not Path(mark).exists()
    if fate.endswith("_once") and first:
        Path(mark).touch()
    if fate == "killed" or (fate == "killed_once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "left_once" and first:
        os._exit(3)
    if fate == "hangs":
        hang()
    if fate == "fails":
        fail()
    if fate == "late":
        time.sleep(0.05)
    return number
