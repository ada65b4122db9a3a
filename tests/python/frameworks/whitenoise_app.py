"""WhiteNoise in front of a small application: files with types, validators and ranges."""

import os

from whitenoise import WhiteNoise


def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello from " + environ["SCRIPT_NAME"].encode()]


app = WhiteNoise(plain, root=os.path.join(os.path.dirname(__file__), "static"), prefix="static/")
