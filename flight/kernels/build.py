"""Builds `flight.kernels._kernels` from the C sources beside this file (cffi API mode, limited API)."""

# The header is the one statement of the interface: cffi parses it, the C files include it, and nothing is declared
# twice. API mode lets the compiler check every call and layout. The limited API gives one file for all versions of
# Python from 3.11 on. The tables come first, because they are generated and not in the repository (ADR 0014).

from __future__ import annotations

import re
import runpy
from pathlib import Path

from cffi import FFI

# setuptools runs this file from the project's root and wants sources relative to it.
FOLDER = Path("flight/kernels")
HEADER = FOLDER / "orbitnode_kernels.h"
TABLES = FOLDER / "tables.h"
FLAGS = ["-std=c11", "-O3", "-Wall", "-Wextra", "-Werror"]


def declarations(header: str) -> str:
    """Return the header as cffi parses it: without comments, guard and includes, constants left to the compiler."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"#(include|ifndef|endif|define \w+$)", line)]
    return "\n".join(re.sub(r"^(#define \w+) .*", r"\1 ...", line) for line in lines)


def write_tables() -> None:
    """Write tables.h if it is missing or differs: what is not written again need not be compiled again."""
    text: str = runpy.run_path(str(FOLDER / "tables.py"))["header"]()  # an import would load what is not built yet
    if not TABLES.exists() or TABLES.read_text(encoding="utf-8") != text:
        TABLES.write_text(text, encoding="utf-8")


write_tables()
ffibuilder = FFI()
ffibuilder.cdef(declarations(HEADER.read_text(encoding="utf-8")))
ffibuilder.set_source(
    "flight.kernels._kernels",
    f'#include "{HEADER.name}"',
    sources=[str(source) for source in sorted(FOLDER.glob("*.c")) if source.name != "_kernels.c"],
    depends=[str(header) for header in sorted(FOLDER.glob("*.h"))],
    include_dirs=[str(FOLDER)],
    extra_compile_args=FLAGS,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
