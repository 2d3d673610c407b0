"""``python -m openmm_backmap`` is the command ``openmm-backmap``."""

import sys

from openmm_backmap.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
