"""Lines of keys: every key that tomllib reads from tricky TOML is found where it stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.toml_lines import TomlLines
from flight.mission import MISSIONS

# Each key or element carries its own line as its value, so that the text says what is right.
CORPUS = {
    "plain": "a = 1\n\nb = 3\n# c = 4\nc = 5 # b = 5\n",
    "dotted": 'a.b.c = 1\na.b.d = 2\na . e = 3\na."f g".h = 4\na.b . "i" = 5\n',
    "quoted": '"a.b" = 1\n\'c d\' = 2\n"" = 3\ny . \'\' = 4\n"e\\"f" = 5\n"\\u00e9\\t" = 6\n\'g\\h\' = 7\n',
    "bare digits": "1 = 1\n2.3 = 2\n- = 3\n_ = 4\n",
    "tables": "[a]\nx = 2\n[a.b]\nx = 4\n\n[ c . d ] # [no]\nx = 7\n[\"e ] f\".'g.h']\nx = 9\n",
    "super table after": "[a.b.c]\nx = 2\n[a]\ny = 4\n[a.b]\nz = 6\n",
    "array tables": "[[p]]\nx = 2\n[[p]]\nx = 4\n[[p]]\n[p.q]\nx = 7\n[[p.r]]\nx = 9\n[[p.r]]\nx = 11\n"
    "[p.r.s]\nx = 13\n[[p]]\n[[p.r]]\nx = 16\n",
    "inline": "a = {x = 1, y = {z = 1, 'w w' = 1}, v.u = 1}\nb = 2\nc = [{x = 3}, {x = 3}]\nd = {}\ne = 5\n",
    "arrays over lines": "a = [\n  2,\n  3, # 99]\n  # [no]\n\n  6\n]\nb = 8\nc = [[9, 9],\n[10, 10]\n,[11]]\nd = 12\n",
    "rows like headers": "a = [\n[2, 2],\n[3]\n]\nb = 5\nc = [\n['[x]'],\n['y = 1']]\nd = 9\n",
    "tables in arrays over lines": "mode = [\n  {n = 2, w = 2},\n  {n = 3, w = [\n   4,\n   ]},\n] # end\nz = 7\n",
    "multi-line strings": 'a = """\n[no]\nb = 3\n"""\nc = 5\nd = \'\'\'\ne = 7\n"""\'\'\'\nf = 9\n',
    "quotes in strings": 'a = "\'\'\'"\nb = 2\nc = \'"""\'\nd = 4 # """\ne = 5 # \'\'\'\nf = """x"" ""\\""""\ng = 7\n',
    "strings that end in quotes": 'a = """"x"""""\nb = 2\nc = \'\'\'\'x\'\'\'\'\'\nd = 4\ne = ["""]""", 5]\nf = 6\n',
    "escaped ends": 'a = "\\\\"\nb = 2\nc = "\\""\nd = 4\ne = """\\\\"""\nf = 6\ng = """a\\\n   b"""\nh = 9\n',
    "literal backslash": "a = 'c:\\'\nb = 2\n",
    "values of all kinds": "a = 1979-05-27 07:32:00\nb = 2\nc = 1979-05-27\nd = 07:32:00.5\ne = -inf\nf = 0xfF\n"
    "g = 1_0.5e-3\n"
    "h = true\ni = 9\nj = [1979-05-27 07:32:00Z, 10]\nk = 11\n",
    "line ends of other alphabets": "a = 1 # \u2028 \u0085\nb = 2\nc = '\u2029'\nd = 4\n",
    "no end": "a = 1\nb = 2",
    "empty": "",
}


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Every path in what tomllib gives, tables and arrays too."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*path, name))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from leaves(one, (*path, i))


@pytest.mark.parametrize("name", CORPUS)
def test_every_key_is_found_on_its_line(name: str) -> None:
    text = CORPUS[name]
    lines = TomlLines(text)
    for path, value in leaves(tomllib.loads(text)):
        assert lines.has(path), path
        if (isinstance(value, int) and not isinstance(value, bool) and name != "values of all kinds") or (
            path[-1] in tuple("bikh") and isinstance(value, int) and not isinstance(value, bool)
        ):
            assert lines.find(path) == value, path


def test_tables_stand_at_their_header_or_where_they_are_first_named() -> None:
    lines = TomlLines(CORPUS["super table after"])
    assert [lines.find(path) for path in (("a",), ("a", "b"), ("a", "b", "c"))] == [3, 5, 1]
    lines = TomlLines(CORPUS["array tables"])
    assert [lines.find(("p", i)) for i in range(4)] == [1, 3, 5, 14]
    assert lines.find(("p", 2, "r", 1)) == 10
    assert lines.find(("p",)) == 1
    lines = TomlLines("x = 1\na.b.c = 2\n")
    assert lines.find(("a", "b")) == 2


def test_what_is_not_there_is_found_at_the_nearest_table_around_it() -> None:
    lines = TomlLines("[a]\nx = 1\n[[b]]\ny = 1\n")
    assert lines.find(("a", "missing", "far")) == 1
    assert lines.find(("b", 0, "missing")) == 3
    assert not lines.has(("a", "missing"))
    assert lines.find(("nowhere",)) is None
    assert lines.find(()) is None


@pytest.mark.parametrize("path", sorted(MISSIONS.glob("*.toml")), ids=lambda path: Path(path).name)
def test_the_missions_we_ship(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines, rows = TomlLines(text), text.splitlines()
    for at, value in leaves(tomllib.loads(text)):
        line = lines.find(at)
        assert line is not None
        if not isinstance(value, dict | list) and isinstance(at[-1], str):
            assert rows[line - 1].startswith(f"{at[-1]} ="), (at, line)


_names = st.text("ab.\"'[]= #\\é\n", max_size=4)
_values = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.text("a\"'\\\n#[]={}, ", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def written(value: object) -> str:
    """As TOML: strings on one line or over several, arrays over several lines, inline tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(name)} = {written(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"{written(one)}, # ]\n" for one in value) + "]"
    if isinstance(value, str):
        if "'" not in value and "\n" in value:
            return f"'''\n{value}'''"
        return quoted(value)
    return str(value).lower()


@given(st.dictionaries(_names, _values, max_size=5), st.dictionaries(_names, _values, max_size=3))
def test_any_tables_in_any_spelling(top: dict[str, object], sub: dict[str, object]) -> None:
    text = ""
    right: dict[tuple[str | int, ...], int] = {}
    for name, value in top.items():
        right[(name,)] = text.count("\n") + 1
        text += f"{quoted(name)} = {written(value)}\n\n"
    for turn in range(2):
        text += "[[table]]\n" if "table" not in top else ""
        for name, value in sub.items():
            if "table" not in top:
                right["table", turn, name] = text.count("\n") + 1
                text += f"{quoted(name)} = {written(value)} # {turn}\n"
    lines = TomlLines(text)
    for path, _ in leaves(tomllib.loads(text)):
        assert lines.has(path), path
    for at, line in right.items():
        assert lines.find(at) == line, at
