"""The time, by the shortest WSGI application there is: a function that calls start_response."""

import time


def application(environ, start_response):
    """Answers with the server's time."""
    body = f"{time.ctime()}\n".encode()
    start_response(
        "200 OK",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]
