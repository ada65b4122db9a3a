"""What is to be served: ``module:callable``, as it stands on the command line."""

from __future__ import annotations

import dataclasses
import re

# A Python name, or several with dots between.
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


class TargetError(ValueError):
    """A target that can't be read: one line that says what is wrong."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A WSGI application by the place where it is found."""

    module: str
    #: The application's name in the module; dots lead into what the name before stands for.
    attribute: str
    #: Whether the name is that of a function that makes the application: ``app:create_app()``.
    is_factory: bool

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Reads ``module:callable`` or ``module:factory()``.

        Raises:
            TargetError: where it is neither.
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
    """What was meant by the name of a file, or of a module alone."""
    module, _, attribute = text.partition(":")
    module = module.removesuffix(".py").strip("/").replace("/", ".")
    guess = f"{module}:{attribute or 'app'}"
    return guess if re.fullmatch(rf"{_DOTTED}:{_DOTTED}(\(\))?", guess) else None
