"""`python -m bandweave` is the command `bandweave`."""

import sys

from bandweave.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
