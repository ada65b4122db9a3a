"""Bottle: routes with parts, a query, JSON, and a body that is streamed."""

import bottle

app = bottle.Bottle()

PAGE = bottle.SimpleTemplate(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Bottle</title>
<h1>Hello, {{name}}!</h1>
<form>Your name: <input name="name" value="{{name}}"> <button>Greet</button></form>
"""
)


@app.get("/")
def greet():
    """A page that greets whom the query names."""
    return PAGE.render(name=bottle.request.query.getunicode("name", "world"))


@app.get("/sum/<a:int>/<b:int>")
def add(a, b):
    """Two numbers and their sum, as JSON."""
    return {"a": a, "b": b, "sum": a + b}


@app.get("/count/<last:int>")
def count(last):
    """Numbers, a line each, every line sent by itself."""
    bottle.response.content_type = "text/plain"
    for number in range(1, min(last, 1000) + 1):
        yield f"{number}\n"


@app.post("/length")
def length():
    """How long the body is."""
    return {"length": sum(len(line) for line in bottle.request.body)}
