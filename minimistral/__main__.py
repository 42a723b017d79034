"""`python -m minimistral` is `minimistral`."""

import sys

from minimistral.cli import main

if __name__ == "__main__":
    sys.exit(main())
