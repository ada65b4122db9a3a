"""Flask: pages, an upload, a login with its default hash, an `async def` view, and a stream."""

import asyncio

from flask import Flask, Response, render_template_string, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash

app = Flask(__name__)
app.secret_key = "not a secret"


@app.get("/")
def hello():
    return render_template_string("Hello from {{ url_for('hello') }}")


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{file.filename} {sum(map(len, iter(lambda: file.read(65536), b'')))}"


@app.post("/raw")
def raw():
    return str(len(request.get_data()))


@app.get("/login")
def login():
    session["user"] = "ada"
    return str(check_password_hash(generate_password_hash("secret"), "secret"))


@app.get("/async")
async def later():
    await asyncio.sleep(0.01)
    return "later"


@app.get("/stream")
def stream():
    return Response((f"{number}\n" for number in range(3)), mimetype="text/plain")


@app.get("/static-url")
def static_url():
    return url_for("static", filename="style.css")
