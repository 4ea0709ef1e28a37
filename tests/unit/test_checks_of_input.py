"""What comes from outside is checked also under `python -O`, which leaves out every `assert`.

The tests of refusals are run under it as they stand: pytest compiles the assertions of the tests themselves, the
program's are gone. And no code takes an AssertionError for an answer.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flight.contract.fields import Field
from flight.core.errors import OrbitnodeError
from flight.link.pus import TC_DATA_OCTETS_MAX, PusTc
from ground.commands.commanding import CommandEncoder
from tests.ground_dictionary import make
from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("flight", "hal", "payloads", "ground", "sim_hw")
# What is refused of dictionaries, missions, apps, declarations and answers.
REFUSALS = (
    "tests/unit/test_declaration_shapes.py", "tests/unit/test_dictionary.py", "tests/unit/test_mission.py",
    "tests/unit/test_mission_apps.py", "tests/unit/test_parameters.py", "tests/unit/test_procedures.py",
    "tests/properties/test_payload_answers.py", "tests/properties/test_payload_product.py",
)  # fmt: skip


def trees(word: str, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Files in which a word stands at all."""
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if word in text:
            yield path.relative_to(ROOT).as_posix(), ast.parse(text)


@pytest.mark.campaign
def test_refusals_are_the_same_under_optimisation() -> None:
    command = [sys.executable, "-O", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *REFUSALS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_RUN_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_optimisation_leaves_out_what_it_should() -> None:
    """Else the test above could not fail."""
    source = "assert False\nprint(__debug__)"
    done = subprocess.run([sys.executable, "-O", "-c", source], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"


def test_nobody_takes_an_assertion_for_a_check() -> None:
    """To catch AssertionError is to rely on it."""
    found = [
        file
        for file, tree in trees("AssertionError", *FOLDERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is not None and "AssertionError" in ast.unparse(node.type)
    ]
    assert found == []


def test_the_contract_asserts_nothing() -> None:
    """All that it is given is made by apps, documents and packets."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in trees("assert", "flight/contract")
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_a_command_that_no_packet_holds_is_refused_in_words() -> None:
    encoder = CommandEncoder(make())
    carried = PusTc(1, 1, 17, 1, bytes(60_000)).encode()
    assert len(encoder.encode("insert", {"entries": [(0, carried)]}).packet) > 60_000
    with pytest.raises(OrbitnodeError) as refused:
        encoder.encode("insert", {"entries": [(0, carried)] * 2})
    said = f"insert: arguments of 120039 octets, a telecommand holds {TC_DATA_OCTETS_MAX}"
    assert str(refused.value) == said


MALFORMED = (
    {"name": "a", "type": "u31"}, {"name": "a", "type": "str", "labels": ["on"]}, {"name": "a", "type": "rows"},
    {"name": "a", "type": "u8", "fields": [{"name": "b", "type": "u8"}]},
    {"name": "a", "type": "str", "refers": "event"},
    {"name": "a", "type": "rows", "fields": [{"name": "b", "type": "rows", "fields": [{"name": "c", "type": "u8"}]}]},
)  # fmt: skip


def test_malformed_fields_are_refused_in_the_same_words_under_optimisation() -> None:
    """Each was accepted under -O once."""
    here = []
    for document in MALFORMED:
        with pytest.raises(ValueError, match=r"^field a ") as refused:
            Field.from_document(document)
        here.append(str(refused.value))
    source = (
        "import json, sys\nfrom flight.contract.fields import Field\n"
        "for one in json.loads(sys.argv[1]):\n"
        "    try: Field.from_document(one); print('accepted')\n"
        "    except ValueError as error: print(error)\n"
    )
    command = [sys.executable, "-O", "-c", source, json.dumps(MALFORMED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_RUN_S, check=True)
    assert done.stdout.splitlines() == here
