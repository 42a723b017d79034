"""Which statements of a notebook an answer needs: those that bind the names it uses.

A lesson has cells that take minutes, draw, or want a GPU. To judge one answer none of them has to
run, unless it binds a name that the answer uses, or one that such a statement uses.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

_BUILTINS = frozenset(dir(builtins))
_IMPORTS = (ast.Import, ast.ImportFrom)


class Statement(NamedTuple):
    """A statement at the top of a cell."""

    source: str
    binds: frozenset[str]  # the names that it sets or changes; "*" for an import of everything
    sets: frozenset[str]  # those of which nothing earlier is left
    reads: frozenset[str]
    kind: type[ast.stmt]


def statements(source: str, lesson: str) -> list[Statement]:
    """The statements of a cell. Raises SyntaxError.

    What a check gives the lesson is the course's own function here, so that no answer depends on
    whether another one is right.

    >>> for statement in statements("y = check.mask(my_mask)\\ny[0] = len(z)", lesson="04"):
    ...     print(statement.source, sorted(statement.binds), sorted(statement.reads))
    y = _course('04', 'mask') ['y'] ['_course']
    y[0] = len(z) ['y'] ['len', 'y', 'z']
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # %timeit, !ls

        first, _, body = source.lstrip().partition("\n")
        if re.match(r"%%(time|capture|prun)\b", first):  # they run the cell in the notebook
            source = body
        tree = ast.parse(TransformerManager().transform_cell(source))
    return [_statement(_Checks(lesson).visit(node)) for node in tree.body]


class _Checks(ast.NodeTransformer):
    """`check.mask(my_mask)` becomes `_course("04", "mask")`."""

    def __init__(self, lesson: str) -> None:
        self.lesson = lesson

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            if function.value.id == "check":
                name = ast.Name("_course", ast.Load())
                given: list[ast.expr] = [ast.Constant(self.lesson), ast.Constant(function.attr)]
                return ast.Call(name, given, [])
        return self.generic_visit(node)


def _statement(node: ast.stmt) -> Statement:
    source = ast.unparse(node)
    table = symtable.symtable(source, "cell", "exec")
    symbols = table.get_symbols()
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    reads = {s.get_name() for s in symbols if s.is_referenced()} | _globals(table)
    binds |= {s.get_name() for s in symbols if s.is_namespace()} | _changed(node)
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        binds.add("*")
    whole = ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign
    sets = binds - _changed(node) if isinstance(node, whole) else set()
    if isinstance(node, ast.Assign | ast.AnnAssign):
        sets = sets - reads
    return Statement(source, frozenset(binds), frozenset(sets), frozenset(reads), type(node))


def _globals(table: symtable.SymbolTable) -> set[str]:
    """The names of the notebook that functions and classes inside a statement use."""
    found = set()
    for inner in table.get_children():
        found |= {s.get_name() for s in inner.get_symbols() if s.is_global()} | _globals(inner)
    return found


def _changed(node: ast.stmt) -> set[str]:
    """The names whose value a statement changes: x[0] = 1, x.size = 1, x.append(1)."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = [t for t in node.targets if not isinstance(t, ast.Name | ast.Tuple)]
    elif isinstance(node, ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets = [node.value.func] if isinstance(node.value.func, ast.Attribute) else []
    return {name for name in map(_root, targets) if name}


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def names_in(expression: str) -> set[str]:
    """The names that an expression uses."""
    return {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}


def needed(all_statements: Sequence[Statement], names: Iterable[str]) -> list[int]:
    """The places of the statements that these names need, in order.

    >>> cells = "import numpy as np\\nW = 3\\nslow()\\nW = 4\\ndef f(): return g(W)\\ng = np.exp"
    >>> needed(statements(cells, "04"), {"f"})
    [0, 3, 4, 5]
    """
    chosen: set[int] = set()
    seen: set[tuple[str, int]] = set()
    open_names = [(name, len(all_statements)) for name in names]
    while open_names:
        name, before = open_names.pop()
        if (name, before) in seen:
            continue
        seen.add((name, before))
        for place in _binders(all_statements, name, before):
            chosen.add(place)
            # what it uses as it runs, and what its functions use when they are called later on
            for used in all_statements[place].reads:
                open_names += [(used, place), (used, before)]
    return sorted(chosen)


def _binders(all_statements: Sequence[Statement], name: str, before: int) -> list[int]:
    """The statements that give a name its value: the last that sets it, and those after it."""
    found = []
    imported = any(name in s.binds and s.kind in _IMPORTS for s in all_statements[:before])
    for place in range(before - 1, -1, -1):
        statement = all_statements[place]
        if imported and statement.kind is ast.Expr:  # np.testing.assert_equal(…) leaves np as it is
            continue
        if name in statement.binds or ("*" in statement.binds and name not in _BUILTINS):
            found.append(place)
            if name in statement.sets:
                break
    return found


def missing(all_statements: Sequence[Statement], names: Collection[str]) -> set[str]:
    """Those of the names that no statement binds."""
    bound = {name for statement in all_statements for name in statement.binds}
    return set() if "*" in bound else set(names) - bound - _BUILTINS
