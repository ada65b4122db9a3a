"""Checks the application's modules before a build, so that invalid Python is reported in a fraction
of a second rather than when the sandbox reaches it."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import warnings
from pathlib import Path

from wasgi.sandbox import PYTHON

#: The maximum number of modules to check. The sandbox reports errors in the rest.
_MODULES_MAX = 2_000

#: The maximum length of a module to check, in bytes. The sandbox reports errors in longer ones.
_MODULE_BYTES_MAX = 4 << 20

#: Syntax that a newer Python accepts and an older one may not: `except*` and unpacking in an index
#: (3.11), `type` statements and type parameters (3.12), `except` with several types without
#: parentheses, and template strings (3.14).
_NEWER = re.compile(
    r"""except\s*\* | \[\s*\* | ,\s*\*\w+\s*\] | ^\s*type\s+\w+\s*[=\[]
    | \b(?:def|class)\s+\w+\s*\[ | except\s+[\w.]+\s*, | \b[tT][rR]?['"] | \b[rR][tT]['"]""",
    re.MULTILINE | re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A module that this Python can't compile."""

    path: Path
    line: int
    message: str
    #: The text of the line in the file.
    text: str
    #: Whether the sandbox's Python, which may be newer, certainly can't compile it either.
    is_certain: bool

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.message}"


def first_mistake(module: str, paths: list[Path]) -> Mistake | None:
    """Returns the first module that can't be compiled, among the application's module and those
    modules in its folders that it imports or names in a string, as Django's settings do."""
    waiting, seen = [module], set()
    while waiting and len(seen) < _MODULES_MAX:
        for file in _files(waiting.pop(), paths):
            if file in seen:
                continue
            seen.add(file)
            source = _read(file)
            if source is None:
                continue
            try:
                tree = _compiled(source, file)
            except (SyntaxError, ValueError) as error:
                return _mistake(error, file, source)
            except RecursionError:
                continue
            waiting += _named(tree, _package(file, paths))
    return None


def _compiled(source: bytes, file: Path) -> ast.Module:
    with warnings.catch_warnings():
        # The module's importer reports an invalid escape.
        warnings.simplefilter("ignore")
        tree = ast.parse(source, str(file))
        # Only the compiler detects some errors, such as `return` outside of a function.
        compile(source, str(file), "exec", dont_inherit=True)
        return tree


def _mistake(error: Exception, file: Path, source: bytes) -> Mistake:
    line = getattr(error, "lineno", None) or 1
    lines = source.decode("utf-8", "replace").splitlines()
    text = lines[line - 1].strip() if line <= len(lines) else ""
    message = getattr(error, "msg", None) or str(error)
    is_older = sys.version_info[:2] < PYTHON
    # Since 3.12 an expression in an f-string may have any form.
    is_newer_form = bool(_NEWER.search("\n".join(lines))) or bool(
        re.search(r"\b[rR]?[fF][rR]?['\"]", text)
    )
    kind = type(error).__name__
    return Mistake(file, line, f"{kind}: {message}", text, not (is_older and is_newer_form))


def _read(file: Path) -> bytes | None:
    try:
        if file.stat().st_size > _MODULE_BYTES_MAX:
            return None
        source = file.read_bytes()
        # The compiler reports an invalid encoding declaration.
        return source if source.strip() else None
    except OSError:
        return None


def _files(module: str, paths: list[Path]) -> list[Path]:
    """Returns the files of one of the application's modules, and of the packages that contain it.
    For a package, returns its modules too: Django imports its `models` and `urls` implicitly."""
    if not all(part.isidentifier() for part in module.split(".")):
        return []
    parts = module.split(".")
    for top in paths:
        found = []
        for depth in range(1, len(parts) + 1):
            place = top.joinpath(*parts[:depth])
            if place.is_dir():
                found += [place / "__init__.py"]
                if depth == len(parts):
                    found += sorted(place.glob("*.py"))
            elif place.with_name(f"{place.name}.py").is_file():
                found.append(place.with_name(f"{place.name}.py"))
        found = [file for file in found if file.is_file()]
        if found:
            return found
    return []


def _package(file: Path, paths: list[Path]) -> str:
    """Returns the dotted name of the package that contains a file."""
    for top in paths:
        if top in file.parents:
            return ".".join(file.parent.relative_to(top).parts)
    return ""


def _named(tree: ast.Module, package: str) -> list[str]:
    """Returns the modules that a module imports or names in a string."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".") if package else []
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names += [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if len(node.value) < 100:
                # In a dotted name, the part before the last dot may be the module.
                names += [node.value, node.value.rpartition(".")[0]]
    return [name for name in names if name]
