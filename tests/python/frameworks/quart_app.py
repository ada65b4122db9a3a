"""Quart: a coroutine, a function, an upload, a stream, and a template."""

import asyncio

from quart import Quart, render_template_string, request

app = Quart(__name__)


@app.before_serving
async def start():
    app.greeting = "Hello from"


@app.get("/")
async def hello():
    page = "{{ greeting }} {{ url_for('hello') }}"
    return await render_template_string(page, greeting=app.greeting)


@app.get("/plain")
def plain():
    return "a function"


@app.post("/upload")
async def upload():
    file = (await request.files)["file"]
    return f"{file.filename} {len(file.read())}"


@app.get("/stream")
async def stream():
    async def blocks():
        for number in range(3):
            await asyncio.sleep(0.01)
            yield f"{number}\n".encode()

    return blocks(), {"Content-Type": "text/plain"}
