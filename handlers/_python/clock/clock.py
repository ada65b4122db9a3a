"""Shows the time with a minimal WSGI application: a function that calls start_response."""

import time


def application(environ, start_response):
    """Responds with the server's time."""
    body = f"{time.ctime()}\n".encode()
    start_response(
        "200 OK",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]
