"""Facts about the sandbox that are known without running it: its Python, and missing modules."""

from __future__ import annotations

#: The major and minor version of componentize-py's CPython.
PYTHON = (3, 14)

#: The sandbox's values of `sys.platform`, `platform.system()` and so on, for requirements.
MARKERS = {
    "python_version": "3.14",
    "python_full_version": "3.14.0",
    "implementation_version": "3.14.0",
    "os_name": "posix",
    "sys_platform": "wasi",
    "platform_system": "wasi",
    "platform_machine": "wasm32",
    "platform_release": "0.0.0",
    "platform_version": "0.0.0",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "extra": "",
}

#: Modules that were removed from the standard library, and the version that removed them (PEP 594
#: and 632).
REMOVED = {
    **dict.fromkeys(["asynchat", "asyncore", "distutils", "imp", "smtpd"], "3.12"),
    **dict.fromkeys(
        """aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev
        pipes sndhdr spwd sunau telnetlib uu xdrlib""".split(),
        "3.13",
    ),
}

#: Packages that restore removed modules.
BROUGHT_BACK = {
    "asynchat": "pyasynchat", "asyncore": "pyasyncore", "distutils": "setuptools",
    "audioop": "audioop-lts", "cgi": "legacy-cgi", "cgitb": "legacy-cgi",
    "crypt": "legacycrypt", "imghdr": "standard-imghdr", "pipes": "standard-pipes",
    "telnetlib": "standard-telnetlib",
}  # fmt: skip
