"""A process that clears up after a test run which could not do so itself, being killed.

It learns what to end and to delete by lines on its standard input, and acts when that ends.
"""

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys


class Guard:
    """The test run's side: what it is told of is gone when the test run is."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is meant for the test run.
        )

    def watch(self, what: object) -> None:
        """Take a process id or a folder into its care."""
        self._tell("+", what)

    def forget(self, what: object) -> None:
        """Let go of what the test run itself has ended or deleted."""
        self._tell("-", what)

    def close(self) -> None:
        """Let it end, and with it all that is still in its care."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, sign: str, what: object) -> None:
        assert self._process.stdin is not None
        print(sign, what, sep="", file=self._process.stdin, flush=True)


@functools.cache
def guard() -> Guard:
    """Give this test process's guard."""
    made = Guard()
    atexit.register(made.close)
    return made


def main() -> None:
    """Keep the list, and clear it up at the end of the input."""
    cared_for: set[str] = set()
    for line in sys.stdin:
        what = line[1:].rstrip("\n")
        if line[0] == "+":
            cared_for.add(what)
        else:
            cared_for.discard(what)
    # Processes first: they would write to their folders.
    for what in sorted(cared_for, key=lambda what: not what.isdigit()):
        if what.isdigit():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(what), signal.SIGKILL)
        else:
            shutil.rmtree(what, ignore_errors=True)


if __name__ == "__main__":
    main()
