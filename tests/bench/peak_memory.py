"""Run a program, and print the most memory that it held, in octets, as a last line behind what it prints:

    python peak_memory.py PROGRAM [ARGUMENT ...]

A process of its own, since on Linux a program inherits the peak of whoever starts it (`ru_maxrss` counts the memory
that is replaced by exec): started by a large process, a small one would look large. This one is small.
"""

from __future__ import annotations

import resource
import subprocess
import sys


def main(command: list[str]) -> int:
    done = subprocess.run(command, check=False)
    sys.stdout.write(f"\n{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
