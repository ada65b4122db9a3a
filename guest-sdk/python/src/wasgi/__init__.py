"""Turns any WSGI application into a handler for the wasgi server.

    python -m wasgi build app:app -o handlers/app.wasm

``wasgi.cli``, ``wasgi.build`` and ``wasgi.target`` run on the developer's machine. What is in
``wasgi.guest`` runs in the sandbox, between the server and the application.
"""

__version__ = "0.1.0"
