"""Builds a handler for the wasgi server from any WSGI application.

    python -m wasgi build app:app -o handlers/app.wasm

``wasgi.cli``, ``wasgi.build`` and ``wasgi.target`` run on the developer's machine. ``wasgi.guest``
runs in the sandbox, between the server and the application.
"""

__version__ = "0.1.0"
