"""Run the command line as ``python -m opflops``."""

import sys

from opflops.cli import main

sys.exit(main())
