"""Mutants of a source file: small faults of the kinds that are made by hand, one to each mutant.

The ordinary kinds: a comparison at its edge or turned round, another operator of arithmetic or of bits, `and` for
`or`, a condition negated, an operand of a condition left out, a number one more or less, True for False, the first of
something for the last, nothing returned, a statement left out. And those that passed this project's tests unseen: two
values of a row, or two arguments, that change places; a checksum of which half is compared; a time that is met half a
second early or late.

Left alone, because nobody would test it: texts, what is raised with them, annotations, decorators, assertions; and the
order of what has none, as in `x in (A, B)`, `max(a, b)`, `except (A, B)` and `a, b = None, None`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_EDGE = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_OPPOSITE = {
    ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not",
    ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_SIGN = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "+", ast.Pow: "*",
    ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "|",
}  # fmt: skip
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_HALF_SECOND = {"_ns": "500_000_000", "_s": "0.5"}
_CHECKSUMS = ("crc", "checksum")


@dataclass(frozen=True)
class Mutant:
    """`new` in place of the octets `start` .. `end` of the file. Lines count from 1. `scope`: the function it is in,
    as its code object calls it, empty at import; `scope_line`: its first line. `names`: constants of the module that
    its statement assigns.
    """

    file: str
    kind: str
    first_line: int
    last_line: int
    start: int
    end: int
    old: str
    new: str
    scope: str
    scope_line: int
    names: frozenset[str]

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]

    @property
    def key(self) -> str:
        return f"{self.kind}@{self.start}-{self.end}={self.new}"


class _Walk:
    """Over the syntax tree of one file, with what is known of the place."""

    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.found: list[Mutant] = []
        self._octets = source.encode()
        self._line_starts = [0]
        for line in self._octets.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._function = ("", 0)
        self._class = ""
        self._names: frozenset[str] = frozenset()

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        at = self._line_starts[node.lineno - 1] + node.col_offset
        end = self._line_starts[node.end_lineno - 1] + node.end_col_offset
        return at, end

    def text(self, node: ast.stmt | ast.expr) -> str:
        start, end = self.span(node)
        return self._octets[start:end].decode()

    def add(self, kind: str, node: ast.stmt | ast.expr, new: str) -> None:
        start, end = self.span(node)
        old = self._octets[start:end].decode()
        if old == new:
            return
        last = node.end_lineno or node.lineno
        self.found.append(
            Mutant(self.file, kind, node.lineno, last, start, end, old, new, *self._function, self._names)
        )

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:  # noqa: C901 - a case for each kind of statement
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._enter_function(node)
            case ast.ClassDef():
                outer, self._class = self._class, f"{self._class}{node.name}."
                self.body([one for one in node.body if not _is_text(one)])
                self._class = outer
            case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Global() | ast.Nonlocal() | ast.Pass():
                pass
            case ast.Raise():
                self.add("statement left out", node, "pass")
            case ast.Break() | ast.Continue() | ast.Delete():
                self.add("statement left out", node, "pass")
            case ast.Expr():
                if not _is_text(node):
                    if not isinstance(node.value, ast.Yield | ast.YieldFrom):
                        self.add("statement left out", node, "pass")
                    self.expression(node.value)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assignment(node)
            case ast.Return():
                if node.value is not None:
                    if not (isinstance(node.value, ast.Constant) and not node.value.value):
                        self.add("nothing returned", node, "return None")
                    self.expression(node.value)
            case ast.If() | ast.While():
                self.condition(node.test)
                self.body(node.body)
                self.body(node.orelse)
            case _:
                self._others(node)

    def _others(self, node: ast.AST) -> None:
        """for, with, try, match: what they are made of."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.statement(child)
            elif isinstance(child, ast.expr):
                self.expression(child)
            elif isinstance(child, ast.ExceptHandler):
                self.body(child.body)
            elif isinstance(child, ast.match_case):
                if child.guard is not None:
                    self.condition(child.guard)
                self.body(child.body)
            else:
                self._others(child)

    def _enter_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """An inner function belongs to the outermost one, which is what can be replaced."""
        if not self._function[0]:
            for default in (*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)):
                self.expression(default)
        outer = self._function
        if not outer[0]:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            self._function = (f"{self._class}{node.name}", first)
        self.body(node.body)
        self._function = outer

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not self._function[0] and not self._class:
            self._names = frozenset(
                one.id for one in targets if isinstance(one, ast.Name) and one.id.strip("_").isupper()
            )
        if isinstance(node, ast.AugAssign):
            self.add("statement left out", node, "pass")
            sign = _ARITHMETIC.get(type(node.op))
            if sign is not None and not isinstance(node.value, ast.Constant):  # of `+= 1` enough is made below
                self.add("other operator", node, f"{self.text(node.target)} {sign}= {self.text(node.value)}")
        elif self._function[0] and node.value is not None and all(_is_place(one) for one in targets):
            self.add("statement left out", node, "pass")
        for target in targets:
            if isinstance(target, ast.Tuple) and not _is_of_one_value(node.value):
                self._swaps("places changed", target.elts)
        if node.value is not None:
            self.expression(node.value)
        self._names = frozenset()

    def condition(self, node: ast.expr) -> None:
        """An expression of which the truth counts."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.add("negated", node, self.text(node.operand))
            self.condition(node.operand)
            return
        if isinstance(node, ast.BoolOp):
            self._bool(node, as_condition=True)
            return
        if not isinstance(node, ast.Compare | ast.Constant):
            self.add("negated", node, f"(not ({self.text(node)}))")
        if isinstance(node, ast.Call) and _is_checksum(node):
            self.add("half a checksum", node, f"({self.text(node)} >> 8)")
        self.expression(node)

    def _bool(self, node: ast.BoolOp, *, as_condition: bool) -> None:
        sign, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        texts = [f"({self.text(one)})" for one in node.values]
        self.add("and, or", node, "(" + f" {other} ".join(texts) + ")")
        for index in range(len(texts)):
            rest = texts[:index] + texts[index + 1 :]
            self.add("operand left out", node, rest[0] if len(rest) == 1 else "(" + f" {sign} ".join(rest) + ")")
        for one in node.values:
            if as_condition:
                self.condition(one)
            else:
                self.expression(one)

    def expression(self, node: ast.expr) -> None:  # noqa: C901 - a case for each kind of expression
        match node:
            case ast.BoolOp():
                self._bool(node, as_condition=False)
                return
            case ast.IfExp():
                self.condition(node.test)
                self.expression(node.body)
                self.expression(node.orelse)
                return
            case ast.UnaryOp(op=ast.Not()):
                self.condition(node)
                return
            case ast.UnaryOp():
                self.add("sign left out", node, self.text(node.operand))
            case ast.Compare():
                self._comparison(node)
                if isinstance(node.ops[0], ast.In | ast.NotIn) and isinstance(node.comparators[0], ast.Tuple):
                    self.expression(node.left)
                    for one in node.comparators[0].elts:
                        self.expression(one)
                    return
            case ast.BinOp() if _is_text(node.left) or _is_text(node.right):
                return
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                sign = _ARITHMETIC[type(node.op)]
                self.add("other operator", node, f"(({self.text(node.left)}) {sign} ({self.text(node.right)}))")
            case ast.Constant():
                self._constant(node)
            case ast.JoinedStr() | ast.Lambda(body=ast.Constant(value=str())):
                return
            case ast.Call():
                self._call(node)
            case ast.Tuple() | ast.List():
                self._swaps("places changed", node.elts)
            case ast.Subscript():
                self._index(node)
        self._parts(node)

    def _parts(self, node: ast.expr) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.comprehension):
                self.expression(child.iter)
                for one in child.ifs:
                    self.condition(one)
            elif isinstance(child, ast.keyword):
                self.expression(child.value)
            elif isinstance(child, ast.expr):
                self.expression(child)

    def _comparison(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        texts = [self.text(one) for one in sides]
        for index, op in enumerate(node.ops):
            for kind, table in (("edge", _EDGE), ("turned round", _OPPOSITE)):
                sign = table.get(type(op))
                if sign is not None:
                    self.add(kind, node, self._joined(node, texts, {index: sign}))
            left, right = sides[index], sides[index + 1]
            unit = _unit(left) or _unit(right)
            if type(op) in _EDGE and unit:
                for sign in "+-":
                    moved = [*texts]
                    moved[index + 1] = f"({texts[index + 1]}) {sign} {_HALF_SECOND[unit]}"
                    self.add("half a second off", node, self._joined(node, moved, {}))
            if isinstance(op, ast.Eq | ast.NotEq) and (_is_checksum(left) or _is_checksum(right)):
                halves = [*texts]
                halves[index : index + 2] = [f"({one}) >> 8" for one in texts[index : index + 2]]
                self.add("half a checksum", node, self._joined(node, halves, {}))

    @staticmethod
    def _joined(node: ast.Compare, texts: list[str], signs: dict[int, str]) -> str:
        parts = [texts[0]]
        for index, op in enumerate(node.ops):
            parts += [signs.get(index, _SIGN[type(op)]), texts[index + 1]]
        return " ".join(parts)

    def _constant(self, node: ast.Constant) -> None:
        match node.value:
            case bool():
                self.add("other constant", node, str(not node.value))
            case int():
                self.add("other constant", node, f"({node.value + 1})")
                self.add("other constant", node, f"({node.value - 1})")
            case float():
                self.add("other constant", node, f"({node.value * 2 + 1!r})")
                self.add("other constant", node, f"({node.value / 2 - 1!r})")

    def _call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            self.add("other call", node.func, _CALLS[node.func.id])
        if not (isinstance(node.func, ast.Name) and node.func.id in _CALLS):
            self._swaps("places changed", node.args)
        self._swaps("places changed", [one.value for one in node.keywords if one.arg is not None])

    def _index(self, node: ast.Subscript) -> None:
        match node.slice:
            case ast.Slice(lower, upper):
                for bound in (lower, upper):
                    if bound is not None and not isinstance(bound, ast.Constant):
                        self.add("one further", bound, f"({self.text(bound)} + 1)")

    def _swaps(self, kind: str, elements: list[ast.expr]) -> None:
        for left, right in pairwise(elements):
            if _is_text(left) and _is_text(right):
                continue
            (start, end), (from_, to) = self.span(left), self.span(right)
            if self._octets[start:end] == self._octets[from_:to]:
                continue
            between = self._octets[end:from_].decode()
            whole = ast.Expr(left)
            whole.lineno, whole.col_offset = left.lineno, left.col_offset
            whole.end_lineno, whole.end_col_offset = right.end_lineno, right.end_col_offset
            self.add(kind, whole, f"{self.text(right)}{between}{self.text(left)}")


def _is_text(node: ast.AST) -> bool:
    inner = node.value if isinstance(node, ast.Expr) else node
    return isinstance(inner, ast.JoinedStr) or (
        isinstance(inner, ast.Constant) and isinstance(inner.value, str | bytes)
    )


def _is_of_one_value(node: ast.expr | None) -> bool:
    """Whether what is assigned to several targets is the same for all."""
    return isinstance(node, ast.Tuple) and len({ast.unparse(one) for one in node.elts}) == 1


def _is_place(node: ast.expr) -> bool:
    """Whether an assignment to it may be left out, and what reads it still finds something."""
    return isinstance(node, ast.Attribute | ast.Subscript)


def _is_checksum(node: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Call) and any(word in ast.unparse(one.func).lower() for word in _CHECKSUMS)
        for one in ast.walk(node)
    )


def _unit(node: ast.AST) -> str:
    """The unit that its name ends with, of those that are times."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return next((unit for unit in _HALF_SECOND if name.endswith(unit)), "")


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """All mutants of the file, in order, each once and each of them Python."""
    walk = _Walk(file, source)
    walk.body(ast.parse(source).body)
    seen: set[tuple[int, int, str]] = set()
    octets = source.encode()
    for one in sorted(walk.found, key=lambda mutant: (mutant.start, mutant.end, mutant.new)):
        place = (one.start, one.end, one.new)
        if place in seen:
            continue
        seen.add(place)
        try:
            compile(one.applied(octets), file, "exec")
        except (SyntaxError, ValueError):
            continue
        yield one
