"""Finds packages that installed packages require for the sandbox's Python, but not for the Python
that they were installed for, so that pip skipped them."""

from __future__ import annotations

import ast
import operator
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from wasgi.sandbox import MARKERS as SANDBOX

_ORDERS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip

#: The maximum length of a marker, in characters.
_MARKER_LENGTH_MAX = 1_000


def missing(folders: list[Path], version: tuple[int, int]) -> list[tuple[str, str]]:
    """Returns pairs of an installed package and a package that it requires in the sandbox but
    not in the Python `version` that it was installed for, and that is not installed in these
    folders."""
    installed = list(metadata.distributions(path=[str(folder) for folder in folders]))
    names = {_normal(each.metadata["Name"] or "") for each in installed}
    dotted = ".".join(map(str, version))
    here = SANDBOX | {
        "python_version": dotted,
        "python_full_version": f"{dotted}.0",
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
    }
    found = []
    for each in installed:
        for line in each.requires or []:
            requirement, _, marker = line.partition(";")
            name = re.match(r"\s*([\w.-]+)", requirement)
            if not marker or name is None or _normal(name[1]) in names:
                continue
            if holds(marker, SANDBOX) and not holds(marker, here):
                found.append((each.metadata["Name"], name[1]))
    return found


def companions(folders: list[Path]) -> dict[str, list[str]]:
    """Returns, for each top-level module of an installed package, the modules of the packages that
    it requires, with any extra, which it may import late."""
    installed = {}
    for each in metadata.distributions(path=[str(folder) for folder in folders]):
        installed.setdefault(_normal(each.metadata["Name"] or ""), each)
    tops = {name: _tops(each) for name, each in installed.items()}
    found: dict[str, list[str]] = {}
    for name, each in installed.items():
        wanted = (re.match(r"\s*([\w.-]+)", line) for line in each.requires or [])
        modules = [
            top for match in wanted if match for top in tops.get(_normal(match[1]), ())
        ]  # fmt: skip
        for top in tops[name]:
            found.setdefault(top, []).extend(modules)
    return {top: sorted(set(modules)) for top, modules in found.items() if modules}


def _tops(distribution: metadata.Distribution) -> list[str]:
    """Returns the top-level modules of a package."""
    names = {Path(str(file)).parts[0] for file in distribution.files or []}
    modules = {name.removesuffix(".py") for name in names}
    return sorted(name for name in modules if name.isidentifier() and name != "__pycache__")


def holds(marker: str, values: dict[str, str] = SANDBOX) -> bool:
    """Returns whether an environment marker (PEP 508) holds with these values. An invalid marker
    doesn't hold."""
    if len(marker) > _MARKER_LENGTH_MAX:
        return False
    try:
        return bool(_value(ast.parse(marker.strip(), mode="eval").body, values))
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _value(node: ast.expr, values: dict[str, str]):
    if isinstance(node, ast.BoolOp):
        parts = [_value(each, values) for each in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = _value(node.left, values), _value(node.comparators[0], values)
        order = type(node.ops[0])
        if order in (ast.In, ast.NotIn):
            return (left in right) == (order is ast.In)
        if _is_version(left) and _is_version(right):
            left, right = _version(left), _version(right)
        return _ORDERS[order](left, right)
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("not a marker")


def _is_version(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)*", text) is not None


def _version(text: str) -> list[int]:
    parts = [int(part) for part in text.split(".")]
    return parts + [0] * (4 - len(parts))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
