"""Pyramid: a view, an upload, and a static view."""

from pyramid.config import Configurator
from pyramid.response import Response


def hello(request):
    return Response(f"Hello from {request.route_path('hello')}")


def upload(request):
    file = request.POST["file"]
    return Response(f"{file.filename} {len(file.file.read())}")


with Configurator() as config:
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello")
    config.add_route("upload", "/upload")
    config.add_view(upload, route_name="upload")
    config.add_static_view("static", "pyramid_app:static")
    app = config.make_wsgi_app()
