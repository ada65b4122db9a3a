"""The demo site's fixed page as a WSGI application, for the Python servers that are measured."""

import pathlib

PAGE = (pathlib.Path(__file__).parents[2] / "handlers/hello/src/page.html").read_bytes()
FIELDS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", str(len(PAGE))),
]


def application(environ, start_response):
    start_response("200 OK", FIELDS)
    return [PAGE]
