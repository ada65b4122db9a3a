"""Falcon: a resource, a multipart form, and a static route."""

import pathlib

import falcon


class Hello:
    def on_get(self, request, response):
        response.text = f"Hello from {request.app}"


class Upload:
    def on_post(self, request, response):
        for part in request.media:
            response.text = f"{part.filename} {len(part.stream.read())}"


app = falcon.App()
app.add_route("/", Hello())
app.add_route("/upload", Upload())
app.add_static_route("/static", str(pathlib.Path(__file__).parent / "static"))
