"""Every test, those in virtual time beside the others; what `make test` runs.

    python tests/all.py [PYTEST OPTION ...]

Tests in real time wait most of the time, and those in virtual time never: these run only where a
processor is idle, and cost no minute more.
"""

import os
import signal
import subprocess
import sys
import tempfile


def main(options: list[str]) -> int:
    """The exit status of the first part that failed."""
    pytest = [sys.executable, "-m", "pytest", *options]
    beside = [*pytest, "--part=virtual", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile() as said:
        virtual = subprocess.Popen(
            beside, stdout=said, stderr=subprocess.STDOUT, preexec_fn=where_idle
        )
        real = subprocess.Popen([*pytest, "--part=real"])

        def end(number: int, frame: object) -> None:
            """Ctrl-C reaches them by itself; each then ends what it has started."""
            if number == signal.SIGTERM:
                for part in (virtual, real):
                    part.send_signal(signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        failed = real.wait()
        failed = virtual.wait() or failed
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    return failed


def where_idle() -> None:
    """This process and its children run when nobody else wants to (sched(7): SCHED_IDLE)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
