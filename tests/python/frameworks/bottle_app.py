"""Bottle: a page, a body of 150 kB, an upload, and a file."""

import os

import bottle

app = bottle.Bottle()


@app.get("/")
def hello():
    return bottle.template("Hello from {{name}}", name=bottle.request.script_name)


@app.post("/body")
def body():
    return str(len(bottle.request.body.read()))


@app.post("/upload")
def upload():
    file = bottle.request.files.file
    return f"{file.raw_filename} {len(file.file.read())}"


@app.get("/static/<path:path>")
def static(path):
    return bottle.static_file(path, root=os.path.join(os.path.dirname(__file__), "static"))
