"""Starlette: a coroutine, a function, a multipart form, a stream, files, and a lifespan."""

import asyncio
import contextlib
import os

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles


@contextlib.asynccontextmanager
async def lifespan(app):
    await asyncio.sleep(0.01)
    yield {"greeting": "Hello from"}


async def hello(request):
    return PlainTextResponse(f"{request.state.greeting} {request.url_for('hello').path}")


def plain(request):
    return PlainTextResponse("a function")


async def upload(request):
    async with request.form() as form:
        return PlainTextResponse(f"{form['file'].filename} {len(await form['file'].read())}")


async def stream(request):
    async def blocks():
        for number in range(3):
            await asyncio.sleep(0.01)
            yield f"{number}\n"

    return StreamingResponse(blocks(), media_type="text/plain")


async def background(request):
    return PlainTextResponse("done", background=BackgroundTask(print, "in the background"))


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", hello), Route("/plain", plain), Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]), Route("/background", background),
        Mount("/static", StaticFiles(directory=os.path.join(os.path.dirname(__file__), "static"))),
    ],
)  # fmt: skip
