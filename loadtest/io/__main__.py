"""`python -m loadtest.io`: simulated callers and agents."""

import sys

from loadtest.io.command import main

sys.exit(main())
