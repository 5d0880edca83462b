"""The console script `keepline`, and `python -m node`."""

import os

# gRPC writes each failed handshake to stderr, as often as it is tried; we tell it once, in words.
# It reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from node.cli import main

if __name__ == "__main__":
    main()
