"""Every test, those in virtual time beside the others; what `make test` runs.

    python tests/all.py [PYTEST OPTION ...]

Tests in real time wait most of the time, and those in virtual time never: at the lowest priority
they fill what the others leave of the machine, and cost no minute more.
"""

import signal
import subprocess
import sys
import tempfile


def main(options: list[str]) -> int:
    """The exit status of the first part that failed."""
    pytest = [sys.executable, "-m", "pytest", *options]
    beside = ["nice", "-n", "19", *pytest, "--part=virtual", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile() as said:
        virtual = subprocess.Popen(beside, stdout=said, stderr=subprocess.STDOUT)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
