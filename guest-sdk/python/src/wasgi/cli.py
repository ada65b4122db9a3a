"""The command line: ``python -m wasgi build app:app -o handlers/app.wasm``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import wasgi
from wasgi import runtime
from wasgi.build import Build, BuildError
from wasgi.target import Target, TargetError

#: The exit status for invalid arguments, as in argparse.
_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, and returns its exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "runtime":
        return _runtime(options.folder)
    try:
        target = Target.parse(options.target)
    except TargetError as error:
        return _fail(str(error), _USAGE)
    build = Build(
        target=target,
        output=options.output or Path(f"{target.module.rpartition('.')[2]}.wasm"),
        paths=options.path or [Path(".")],
        imports=options.imports,
        warm=options.warm,
        include=options.include,
        python=options.python,
        tell=lambda line: print(f"wasgi: {line}", file=sys.stderr),
    )
    try:
        size = build.run()
    except BuildError as error:
        if error.details:
            print(error.details, file=sys.stderr)
        return _fail(str(error), 1)
    print(f"wrote {build.output} ({size / 1e6:.1f} MB)")
    return 0


def _runtime(folder: Path) -> int:
    try:
        size = runtime.build(folder)
    except (BuildError, OSError) as error:
        if getattr(error, "details", ""):
            print(error.details, file=sys.stderr)
        return _fail(str(error), 1)
    print(f"wrote {folder} ({size / 1e6:.1f} MB)")
    return 0


def _fail(line: str, status: int) -> int:
    print(f"wasgi: {line}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wasgi",
        description="Turns WSGI applications into handlers for the wasgi server.",
    )
    parser.add_argument("--version", action="version", version=f"wasgi {wasgi.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    generic = commands.add_parser(
        "runtime",
        help="build the runtime that the server loads scripts with",
    )
    generic.add_argument("folder", type=Path, metavar="FOLDER", help="the folder to write")
    build = commands.add_parser(
        "build",
        help="build a handler from an application",
        description="Imports an application in the sandbox, and writes a component that starts "
        "where the import ended.",
    )
    build.add_argument(
        "target",
        metavar="MODULE:CALLABLE",
        help="the application, such as app:app, mysite.wsgi:application or app:create_app()",
    )
    build.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file to write [default: MODULE.wasm]"
    )
    build.add_argument(
        "-p",
        "--path",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="a folder with modules and files of the application; can be repeated "
        "[default: the current folder]",
    )
    build.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module to import during the build, because the application imports it later",
    )
    build.add_argument(
        "--warm",
        action="append",
        default=[],
        metavar="PATH",
        help="a path to request during the build, so that every instance starts with the "
        "state that the application sets up in its first request",
    )
    build.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="an installed package to include although it isn't imported during the build",
    )
    build.add_argument(
        "--python",
        type=Path,
        metavar="INTERPRETER",
        help="the interpreter whose packages to use [default: the running one, if it is of a "
        "virtual environment; otherwise that of .venv beside the application]",
    )
    return parser
