"""An application's settings: `[tool.wasgi]` in the `pyproject.toml` of its folder."""

from __future__ import annotations

import dataclasses
import os

#: The name of the file in the application's folder.
FILE = "pyproject.toml"

#: The maximum length of the file, in bytes. It is written by hand.
FILE_BYTES_MAX = 64 << 10

#: The maximum length of a value, in characters.
VALUE_LENGTH_MAX = 1_000

#: The maximum number of paths that are requested while an application is loaded.
WARM_PATHS_MAX = 32


class SettingsError(Exception):
    """The settings are invalid. The message is one line that names the file and the key."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys, with their defaults."""

    #: `module:name` or `module:function()`; None selects it by convention.
    application: str | None = None
    #: The paths to request before the snapshot.
    warm: tuple[str, ...] = ()
    #: The folder of packages in the application's folder.
    packages: str | None = None


def read(folder: str) -> Settings:
    """Reads the settings of the application in a folder.

    Raises:
        SettingsError: if the file can't be read, or a key is unknown or has an invalid value.
    """
    try:
        with open(os.path.join(folder, FILE), "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"{FILE}: can't be read: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError(f"{FILE}: larger than {FILE_BYTES_MAX >> 10} KiB")
    import tomllib

    try:
        table = tomllib.loads(content.decode()).get("tool", {})
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{FILE}: {' '.join(str(error).split())}") from None
    section = table.get("wasgi", {}) if isinstance(table, dict) else {}
    if not isinstance(section, dict):
        raise SettingsError(f"{FILE}: tool.wasgi must be a table")
    return _settings(section)


def _settings(section: dict) -> Settings:
    known = [field.name for field in dataclasses.fields(Settings)]
    for key in section:
        if key not in known:
            shown = _shown(key)
            raise SettingsError(
                f"{FILE}: tool.wasgi.{shown}: unknown key; the keys are {', '.join(known)}"
            )
    application, packages = section.get("application"), section.get("packages")
    if application is not None:
        module, colon, name = _text("application", application).partition(":")
        names = [*module.split("."), *name.removesuffix("()").split(".")]
        if not colon or not all(part.isidentifier() for part in names):
            raise _wrong("application", application, 'write "module:name" or "module:function()"')
    if packages is not None:
        parts = _text("packages", packages).split("/")
        if packages.startswith("/") or ".." in parts:
            advice = "name a folder inside the application's folder, without .."
            raise _wrong("packages", packages, advice)
    warm = section.get("warm", [])
    if not isinstance(warm, list) or len(warm) > WARM_PATHS_MAX:
        raise SettingsError(f"{FILE}: tool.wasgi.warm: must be a list of at most {WARM_PATHS_MAX} paths")
    for path in warm:
        if not _text("warm", path).startswith("/"):
            raise _wrong("warm", path, "a path must begin with /")
    return Settings(application, tuple(warm), packages)


def _text(key: str, value) -> str:
    if not isinstance(value, str):
        found = type(value).__name__
        raise SettingsError(f"{FILE}: tool.wasgi.{key}: must be a string, not {found}")
    if len(value) > VALUE_LENGTH_MAX:
        raise SettingsError(f"{FILE}: tool.wasgi.{key}: longer than {VALUE_LENGTH_MAX} characters")
    return value


def _wrong(key: str, value: str, advice: str) -> SettingsError:
    return SettingsError(f"{FILE}: tool.wasgi.{key}: {_shown(value)}: {advice}")


def _shown(value: str) -> str:
    return repr(value[:60])
