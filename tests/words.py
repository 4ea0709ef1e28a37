"""Figures of the project's words: comments, docstrings, names, and turns of phrase that cost a reader time.

    python -m tests.words            the figures, and where each finding stands
    python -m tests.words flight     of one folder or file alone

docs/style.md says what is asked for; this script counts what can be counted.

What is read: docstrings, comments and string literals of Python, comments of C, and the text of pages without what is
in code fences. A comment counts if it speaks to a reader: directives such as `noqa` and `type: ignore` do not.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("flight", "hal", "payloads", "ground", "sim_hw")
# These quote what is looked for.
UNREAD = ("tests/words.py", "tests/unit/test_words.py", "docs/style.md")

_DIRECTIVE = re.compile(r"#\s*(noqa|type:|pragma|ruff:|fmt:|mypy:|!)")
_FENCE = re.compile(r"^([ \t]*)(```|~~~).*?^\1\2[ \t]*$", re.DOTALL | re.MULTILINE)

# What may be counted per something, and what it may be counted per.
_COUNTED = (
    r"ns|us|ms|s|J|W|MB|kB|GB|%|bits?|octets|bytes|symbols|seconds|minutes|hours|frames|packets|times|steps|calls|passes|"
    r"errors|lines|commands|columns|rows|instants|tasks|ticks|files|cases|boots|products|samples|tiles|records|blocks|"
    r"messages|events|reports|jobs|runs|units|codewords|parameters|values|pages|structures|writes|reads|syncs|tests|"
    r"threads|descriptors|processes|entries|copies|tries|results|objects|segments|chunks|images|pixels|orbits"
)
_PER = (
    r"second|minute|hour|day|orbit|pass|frame|packet|task|step|octet|record|sample|pixel|tick|link|node|file|row|line|"
    r"call|job|tile|command|codeword|run|case|unit|block|batch|app|symbol|message|boot|spacecraft|structure|report|"
    r"product|stream|process|worker|entry|device|driver|month|year|transaction|column|megabyte|kilobyte|field|page|table|"
    r"room|piece|time|try|way|turn|segment|event|image|test|parameter|value|lane|kind|channel|group|octave|bit"
)
# A place, not a condition: "says where it stands", "from where a block ended", "the octet where the packet ends".
_PLACE = (
    r"(?:from|to|at|of|and|or|near|is|are|was|but|not|knows?|says?|said|shows?|tells?|sees?|finds?|found|keeps?|asks?|"
    r"places?|point|octet|bit|line|position|instant|just|exactly|stop|stops|goes|begins?|starts?|ends?|remains?|stays?|"
    r"folder|room|out|on|inference|that|stands?|lies|about|for|name|names)[,:;]?"
)

PHRASES = {
    'a condition that begins with "where"': re.compile(
        r"(?<!\w)(?P<before>\w+[,:;]?\s|[-(`\"'.;:]\s?|^)where\s"
        r"(?:it|there|they|this|these|those|that|one|none|no|nothing|nobody|neither|both|only|any|all|such|its|a|an|the|he|"
        r"somebody|something|several|more|less|[A-Z]\w*|\w+s|`\w+`)\b"
    ),
    '"is no X" for "is not an X"': re.compile(
        r"(?<!there )(?<!there\n)\b(?:is|are|was|were|be)\sno\s"
        r"(?!longer\b|more\b|less\b|fewer\b|later\b|earlier\b|sooner\b|one\b)\w+",
        re.IGNORECASE,
    ),
    '"a" for "per"': re.compile(
        rf"(?:(?<=\d )|\b)(?:{_COUNTED})\san?\s(?:{_PER})\b(?!\s(?:of|that|which|is|was|in|to|at|with|has|may|does)\b)"
    ),
    '"anew" for "again"': re.compile(r"\banew\b", re.IGNORECASE),
}
_PLACE_BEFORE = re.compile(rf"^{_PLACE}\s$", re.IGNORECASE)

# Names that say nothing of what they hold or do.
EMPTY_NAMES = frozenset({"one", "left", "then", "made", "do", "tell", "other_one", "thing", "things", "it"})


@dataclass(frozen=True)
class Finding:
    """One place to mend: `kind` is what is wrong there, `quote` what it says."""

    kind: str
    file: str
    line: int
    quote: str


@dataclass
class Figures:
    """Lines counted over the product's Python: of code without docstrings, and of comments that speak."""

    code_lines: int = 0
    comment_lines: int = 0

    @property
    def comments_per_100(self) -> float:
        """Lines of comment per 100 lines of code."""
        return 100.0 * self.comment_lines / self.code_lines if self.code_lines else 0.0


def tracked_files() -> list[str]:
    """All files under version control that hold words, by their path from the root; those not yet added as well."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [file for file in sorted(set(listed.stdout.splitlines())) if file.endswith((".py", ".c", ".h", ".md"))]
    return [file for file in files if file not in UNREAD and (ROOT / file).exists()]


def comments_in(source: str) -> list[tuple[int, str]]:
    """The comments of a Python file with their lines, directives left out."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not _DIRECTIVE.match(token.string):
            found.append((token.start[0], token.string.lstrip("# ").rstrip()))
    return found


def documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Everything in a module that can have a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def count_lines(source: str, figures: Figures) -> None:
    """Add one file to `figures`. A line with code and a comment counts as both, a line of a docstring as neither."""
    code: set[int] = set()
    skipped = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.COMMENT}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in documented(ast.parse(source)):
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            code.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    figures.code_lines += len(code)
    figures.comment_lines += len({line for line, text in comments_in(source) if text})


def undocumented(file: str, source: str) -> Iterator[Finding]:
    """Public modules, classes, functions and methods without a docstring. Dunder methods do what the language says."""

    def walk(node: ast.AST, prefix: str) -> Iterator[Finding]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                if child.name.startswith("_"):
                    continue
                if ast.get_docstring(child) is None:
                    yield Finding("public name without a docstring", file, child.lineno, f"{prefix}{child.name}")
                if isinstance(child, ast.ClassDef):
                    yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, (ast.If, ast.Try)):
                yield from walk(child, prefix)

    tree = ast.parse(source)
    if ast.get_docstring(tree) is None and not file.endswith("__init__.py"):
        yield Finding("public name without a docstring", file, 1, "the module")
    yield from walk(tree, "")


def empty_names(file: str, source: str) -> Iterator[Finding]:
    """Names given in a Python file that say nothing."""
    for node in ast.walk(ast.parse(source)):
        name, line = None, getattr(node, "lineno", 0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            continue
        if name is not None and name.strip("_") in EMPTY_NAMES:
            yield Finding("name that says nothing", file, line, name)


def texts_in(file: str, source: str) -> Iterator[tuple[int, str]]:
    """The words of a file, each text with the line at which it begins. Comments on consecutive lines are one text."""
    if file.endswith(".py"):
        block: list[str] = []
        first = last = 0
        for line, text in comments_in(source):
            if block and line != last + 1:
                yield first, "\n".join(block)
                block = []
            if not block:
                first = line
            block.append(text)
            last = line
        if block:
            yield first, "\n".join(block)
        inside: set[int] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                inside.update(id(value) for value in node.values)
                yield (
                    node.lineno,
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                yield node.lineno, node.value
    elif file.endswith(".md"):
        yield 1, _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), source)
    else:
        for comment in re.finditer(r"/\*(.*?)\*/", source, re.DOTALL):
            yield source.count("\n", 0, comment.start()) + 1, re.sub(r"\n\s*\*", "\n", comment[1])


def phrases(file: str, source: str) -> Iterator[Finding]:
    """Turns of phrase that stand in the way."""
    seen = set()
    for line, text in texts_in(file, source):
        for kind, pattern in PHRASES.items():
            for match in pattern.finditer(text):
                if "before" in pattern.groupindex and _PLACE_BEFORE.match(match["before"]):
                    continue
                at = line + text.count("\n", 0, match.start())
                quote = " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
                if (kind, quote) not in seen:
                    seen.add((kind, quote))
                    yield Finding(kind, file, at, quote)


def measure(within: str = "") -> tuple[Figures, list[Finding]]:
    """Read all files whose path begins with `within`."""
    figures = Figures()
    findings: list[Finding] = []
    for file in tracked_files():
        if not file.startswith(within):
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        if file.endswith(".py") and file.startswith(PACKAGES):
            count_lines(source, figures)
            findings.extend(undocumented(file, source))
            findings.extend(empty_names(file, source))
        findings.extend(phrases(file, source))
    return figures, findings


def main() -> None:
    """Print the findings, then the figures."""
    figures, findings = measure(sys.argv[1] if len(sys.argv) > 1 else "")
    for finding in findings:
        print(f"{finding.file}:{finding.line}: {finding.kind}: {finding.quote}")
    print()
    for kind, number in sorted(Counter(finding.kind for finding in findings).items()):
        print(f"{number:6} {kind}")
    if figures.code_lines:
        lines = f"{figures.comment_lines} / {figures.code_lines}"
        print(f"{figures.comments_per_100:6.1f} comments per 100 lines of code ({lines})")


if __name__ == "__main__":
    main()
