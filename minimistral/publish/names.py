"""Which cells of a notebook a cell needs, found without running anything: by the names they use."""

import builtins
import symtable
from collections.abc import Iterable, Mapping

BUILT_IN = set(dir(builtins))


def bound_and_used(code: str) -> tuple[set[str], set[str]]:
    """The names that a cell defines, and those that it takes from elsewhere.

    >>> bound, used = bound_and_used("def double(x):\\n    return factor * x\\n\\ny = double(3)")
    >>> sorted(bound), sorted(used)
    (['double', 'y'], ['factor'])
    """
    top = symtable.symtable(code, "cell", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    inner = list(top.get_children())
    while inner:
        table = inner.pop()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        inner += table.get_children()
    return bound, used - bound - BUILT_IN


def needed_cells(cells: Mapping[str, str], wanted: Iterable[str]) -> set[str]:
    """The cells, of all above each wanted one, that define what it uses, and what these use.

    cells: id -> code, in order. Of several that define a name the nearest counts.

    >>> sorted(needed_cells({"a": "n = 1", "b": "n = 2", "c": "m = n", "d": "print(m)"}, ["d"]))
    ['b', 'c']
    """
    ids = list(cells)
    names = {cell: bound_and_used(code) for cell, code in cells.items()}
    needed: set[str] = set()
    open_cells = [cell for cell in wanted if cell in cells]
    while open_cells:
        cell = open_cells.pop()
        above = ids[: ids.index(cell)]
        for name in names[cell][1]:
            found = next((other for other in reversed(above) if name in names[other][0]), None)
            if found and found not in needed:
                needed.add(found)
                open_cells.append(found)
    return needed
