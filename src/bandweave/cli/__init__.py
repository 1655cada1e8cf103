"""The command line. Signals are heeded from here on, before anything else is loaded."""

from __future__ import annotations

import os
import sys

COMMANDS = ("bandweave", "bandweave.exe", "__main__.py")  # how the program itself is started

if os.path.basename(sys.argv[0] if sys.argv else "") in COMMANDS:
    from bandweave.cli.signals import end_at_signals_while_loading

    end_at_signals_while_loading()
