"""What the node's own process brings into memory: numpy and the model's runtime belong into the worker's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import flight.linux.flight_command, payloads.manager
from payloads.worker.settings import find_app
find_app("payloads.apps.screen:Screen")
print(*sorted({"numpy", "onnxruntime", "PIL", "sgp4"} & set(sys.modules)))
"""


def test_a_node_with_the_payload_manager_imports_no_numpy() -> None:
    made = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout.split() == []
