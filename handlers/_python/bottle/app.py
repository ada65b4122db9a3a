"""Bottle: routes with parameters, a query, JSON, and a streamed body."""

import bottle

app = bottle.Bottle()

PAGE = bottle.SimpleTemplate(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Bottle</title>
<main>
<h1>Hello, {{name}}!</h1>
<form><label>Your name: <input name="name" value="{{name}}"></label> <button>Greet</button></form>
</main>
"""
)


@app.get("/")
def greet():
    """Returns a page that greets the name in the query."""
    return PAGE.render(name=bottle.request.query.getunicode("name", "world"))


@app.get("/sum/<a:int>/<b:int>")
def add(a, b):
    """Returns two numbers and their sum as JSON."""
    return {"a": a, "b": b, "sum": a + b}


@app.get("/count/<last:int>")
def count(last):
    """Streams numbers, one line at a time."""
    bottle.response.content_type = "text/plain"
    for number in range(1, min(last, 1000) + 1):
        yield f"{number}\n"


@app.post("/length")
def length():
    """Returns the length of the request's body."""
    return {"length": sum(len(line) for line in bottle.request.body)}
