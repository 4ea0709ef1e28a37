"""`make yamcs`: fetch a Yamcs if there is none yet, and run the tests with it; pytest's arguments are passed on."""

from __future__ import annotations

import os
import sys

from tests.yamcs.server import JARS, JAVA, NotToBeHadError, fetch


def main() -> None:
    """Become pytest, or say why there is no Yamcs."""
    try:
        found = fetch()
    except NotToBeHadError as error:
        print(f"yamcs: skipped, {error}")
        return
    print(f"yamcs: {found[JARS]}, {found[JAVA]}", flush=True)
    command = [sys.executable, "-m", "pytest", "tests/yamcs", *sys.argv[1:]]
    os.execve(sys.executable, command, os.environ | found)


if __name__ == "__main__":
    main()
