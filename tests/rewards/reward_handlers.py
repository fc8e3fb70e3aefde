"""What the tests run in workers: handlers that behave and handlers that do not."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path


def echo(value):
    return value


def behave(how, *arguments):
    return globals()[how](*arguments)


def hang():
    while True:
        pass


def hang_in_c():
    return len(str(9 ** (9**9)))


def leave(code):
    os._exit(code)


def leave_politely():
    sys.exit(3)


def crash():
    ctypes.string_at(0)


def fail():
    raise KeyError("missing")


class Interruption(BaseException):
    pass


def interrupt():
    raise Interruption("an alarm")


def hog():
    return len(bytearray(64 * 1024**3))


def speak():
    print("from print")
    os.write(1, b"from descriptor 1\n")
    return "spoken"


def not_json():
    return object()


def process():
    time.sleep(0.1)  # long enough that every worker gets its share
    return os.getpid()


def modules():
    return sorted({name.partition(".")[0] for name in sys.modules})


def hash_seed():
    return hash("the same in every worker")


def once(folder, answer):
    """Dies the first time, answers the second."""
    mark = Path(folder) / "mark"
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return answer


def nap(seconds):
    time.sleep(seconds)
    return "rested"


def signal_children():
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


def slow_to_load(seconds):
    """A factory, for `setup`."""
    time.sleep(seconds)
    return nap


def adder(amount):
    """A factory, for `setup`."""
    return lambda value: value + amount
