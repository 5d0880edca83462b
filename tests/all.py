"""Every test, those in virtual time beside the others; what `make test` runs.

    python tests/all.py [PYTEST OPTION ...]

Tests in real time wait most of the time, and those in virtual time never: at the lowest priority
they fill what the others leave of the machine, and cost no minute more.
"""

import subprocess
import sys
import tempfile


def main(options: list[str]) -> int:
    """The exit status of the first part that failed."""
    pytest = [sys.executable, "-m", "pytest", *options]
    beside = ["nice", "-n", "19", *pytest, "--part=virtual", "-p", "no:cacheprovider"]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(beside, stdout=said, stderr=subprocess.STDOUT) as virtual,
    ):
        try:
            failed = subprocess.run([*pytest, "--part=real"], check=False).returncode
            failed = failed or virtual.wait()
        finally:
            virtual.terminate()
            virtual.wait()
            said.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(said.read())
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
