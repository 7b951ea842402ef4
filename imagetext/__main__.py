"""`python -m imagetext` is the command line, as the command `imagetext` is."""

import sys

from imagetext.commands import main

if __name__ == "__main__":
    sys.exit(main())
