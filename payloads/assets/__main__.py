"""`python -m payloads.assets fetch`."""

import sys

from payloads.assets.fetch import main

if __name__ == "__main__":
    sys.exit(main())
