"""Docstrings as reStructuredText: what is code stays code, what has a shape keeps it, and nothing else is markup."""

from __future__ import annotations

import pytest

from docs.tools.docstrings import restructured


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Send `data` at once.", "Send ``data`` at once."),
        ("Rows of `Field`s; x`y`", r"Rows of ``Field``\ s; x\ ``y``"),
        ("Over two `long\nnames` here.", "Over two ``long names`` here."),
        ("*args, a_, |x| and \\n", r"\*args, a\_, \|x\| and \\n"),
        (":key: is not a field\n.. nor this a comment", "\\:key: is not a field\n\\.. nor this a comment"),
        ("It takes\n1. a number at the beginning of a line", "It takes\n\\1. a number at the beginning of a line"),
        ("States:\n    a  b\n      c *d*\nand on.", "States:\n\n::\n\n    a  b\n      c *d*\n\nand on."),
        (
            "A table:\n    name    text\n    `a_b`   one `c` d\n",
            "A table:\n\n::\n\n    name    text\n    a_b     one c d",
        ),
        ("- one\n  goes `on`\n- two\nText.", "- one\n  goes ``on``\n\n- two\n\nText."),
        ("1. one\n   goes on\n2. two", "1. one\n   goes on\n\n2. two"),
        ("-----", r"\-----"),
        ("a\n\n    b\n\n    c", "a\n\n::\n\n    b\n\n::\n\n    c"),
    ],
)
def test_what_is_made_of_a_docstring(text: str, expected: str) -> None:
    assert "\n".join(restructured(text.splitlines())).rstrip("\n") == expected
