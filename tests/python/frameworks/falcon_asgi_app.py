"""Falcon's ASGI application: a resource, a stream, a static route."""

import pathlib

import falcon
import falcon.asgi


class Hello:
    async def on_get(self, request, response):
        response.text = f"Hello from {request.root_path}"


class Stream:
    async def on_get(self, request, response):
        async def blocks():
            for number in range(3):
                yield b"%d\n" % number

        response.stream = blocks()


app = falcon.asgi.App()
app.add_route("/", Hello())
app.add_route("/stream", Stream())
app.add_static_route("/static", str(pathlib.Path(__file__).parent / "static"))
