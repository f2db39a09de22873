"""Reading the code in the cells of a notebook, without running it."""

import ast
import re
from pathlib import Path

PLAIN_TIER = r"""(?m)^(tier\b[^=\n]*=\s*)(["'])\w*\2(?=\s*(?:[;#]|$))"""


def at_tier(source: str, tier: str) -> str:
    """The source of a cell of parameters with its tier set, however it was written."""
    if re.search(PLAIN_TIER, source):
        return with_tier(source, tier)
    return f'{source}\ntier = "{tier}"'


def with_tier(source: str, tier: str) -> str:
    """The source of any cell with the tier exchanged, if it sets one to a plain string."""
    return re.sub(PLAIN_TIER, rf'\g<1>"{tier}"', source)


def code_cells(path: str | Path) -> list[str]:
    """The sources of a notebook's code cells, magics left out."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [without_magics(cell.source) for cell in cells]


def without_magics(source: str) -> str:
    """The source of a cell as Python: IPython's lines that begin with % or ! are left empty."""
    return re.sub(r"(?m)^[%!].*$", "", source)


def defined_names(source: str) -> list[str]:
    """Names of the functions and classes that a cell defines, in order."""
    kinds = ast.FunctionDef | ast.ClassDef
    return [node.name for node in ast.parse(source).body if isinstance(node, kinds)]


def bound_names(node: ast.AST) -> set[str]:
    """Names that a statement imports or defines as function or class."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()


def imported_modules(source: str) -> set[str]:
    """Names that may be modules, of all that a piece of code imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def used_names(tree: ast.AST) -> set[str]:
    """Names used and modules imported in a piece of code."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
