"""The application to serve: ``module:callable``, as on the command line."""

from __future__ import annotations

import dataclasses
import re

# A Python name, or several separated by dots.
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


class TargetError(ValueError):
    """A target that can't be parsed. The message is one line."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The location of a WSGI application."""

    module: str
    #: The application's name in the module. It may contain dots for attributes.
    attribute: str
    #: Whether the name is that of a factory function: ``app:create_app()``.
    is_factory: bool

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parses ``module:callable`` or ``module:factory()``.

        Raises:
            TargetError: if it is neither.
        """
        pattern = rf"(?P<module>{_DOTTED}):(?P<attribute>{_DOTTED})(?P<call>\(\))?"
        match = re.fullmatch(pattern, text)
        if match is None:
            hint = f"; did you mean {_guess(text)}?" if _guess(text) else ""
            raise TargetError(
                f"{text!r} is not of the form module:callable, such as app:app{hint}"
            )
        return cls(match["module"], match["attribute"], match["call"] is not None)

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}{'()' if self.is_factory else ''}"


def _guess(text: str) -> str | None:
    """Guesses the intended target from the name of a file or a module."""
    module, _, attribute = text.partition(":")
    module = module.removesuffix(".py").strip("/").replace("/", ".")
    guess = f"{module}:{attribute or 'app'}"
    return guess if re.fullmatch(rf"{_DOTTED}:{_DOTTED}(\(\))?", guess) else None
