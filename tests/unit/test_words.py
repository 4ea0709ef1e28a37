"""The project's words, counted: what the figures of tests/words.py must be, and that they see what they look for."""

from __future__ import annotations

import pytest

from tests.words import Figures, Source, count_lines, empty_names, measure, phrases, undocumented

pytestmark = pytest.mark.source

COMMENTS_PER_100_MIN = 8.0


def test_the_words_are_plain() -> None:
    """What to do: reword what the message quotes; docs/style.md says how."""
    figures, findings = measure()
    assert [f"{found.file}:{found.line}: {found.kind}: {found.quote}" for found in findings] == []
    assert figures.code_lines > 30_000, "the product was not read"
    assert figures.comments_per_100 >= COMMENTS_PER_100_MIN


@pytest.mark.parametrize(
    "text",
    [
        "None where there is none",
        "raises DecodeError where the packet is cut off",
        "what is no packet",
        "it is no app",
        "16 symbols a codeword",
        "75 J a tile",
        "begins anew",
        "counted\nwhere it is lost",
    ],
)
def test_a_phrase_is_found(text: str) -> None:
    for file, source in (("a.py", f'"""{text}"""\n'), ("a.py", f"x = 1  # {text.splitlines()[0]}\n"), ("a.md", text)):
        if "\n" not in text or not source.startswith("x"):
            assert list(phrases(Source(file, source))), (file, source)
    assert list(phrases(Source("a.h", f"/* {text} */")))


@pytest.mark.parametrize(
    "text",
    [
        "says where it stands",
        "from where the block ended",
        "there is no model",
        "it is no longer there",
        "once a second",
        "gives a table",
        "starts a job",
        "a fence:\n```\nNone where there is none\n```\n",
    ],
)
def test_plain_english_is_let_alone(text: str) -> None:
    assert list(phrases(Source("a.md", text))) == []


def test_a_public_name_without_a_docstring_is_found() -> None:
    source = (
        '"""M."""\nclass Shown:\n    """Yes."""\n    def told(self): ...\n    def _hidden(self): ...\ndef bare(): ...\n'
    )
    assert [found.quote for found in undocumented(Source("a.py", source))] == ["Shown.told", "bare"]


def test_a_name_that_says_nothing_is_found() -> None:
    source = "for one in []: pass\ndef _do(left, frame): self.made = 1\n"
    assert sorted(found.quote for found in empty_names(Source("a.py", source))) == ["_do", "left", "made", "one"]


def test_comments_are_counted_per_line_of_code_and_directives_are_none() -> None:
    figures = Figures()
    count_lines(
        Source("a.py", '"""Words."""\n# why\nx = 1  # reason\ny = 2  # noqa: F841\n\nz = (\n    3\n)\n'), figures
    )
    assert (figures.code_lines, figures.comment_lines) == (5, 2)
