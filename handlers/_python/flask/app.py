"""A guest book: Flask with templates, a form, a session in a signed cookie, and entries in SQLite.

Each request gets a new instance. The entries are kept in a file in the folder that `wasgi.toml`
grants:

    [handlers.flask]
    files = [{ source = "data/flask", destination = "/data", writable = true }]
"""

import secrets
import sqlite3
from pathlib import Path

from flask import Flask, redirect, render_template, request, session, url_for

# The maximum number of entries on the page.
SHOWN_COUNT = 50
NAME_CHARACTERS_MAX = 40
TEXT_CHARACTERS_MAX = 120

app = Flask(__name__)
# Generated at the build, and the same in all instances: cookies are valid until the next build.
app.secret_key = secrets.token_bytes(32)
app.config["DATABASE"] = "/data/book.db"


def connect():
    """Opens the database, or one in memory if no folder is granted."""
    file = Path(app.config["DATABASE"])
    database = sqlite3.connect(file if file.parent.is_dir() else ":memory:")
    database.execute("CREATE TABLE IF NOT EXISTS entry (name TEXT, text TEXT)")
    return database


@app.get("/")
def book():
    """Shows a form and the latest entries."""
    query = "SELECT name, text FROM entry ORDER BY rowid DESC LIMIT ?"
    return render_template(
        "book.html",
        entries=connect().execute(query, (SHOWN_COUNT,)).fetchall(),
        name=session.get("name", ""),
        name_max=NAME_CHARACTERS_MAX,
        text_max=TEXT_CHARACTERS_MAX,
    )


@app.post("/")
def write():
    """Adds an entry and redirects to the page."""
    name = request.form.get("name", "").strip()[:NAME_CHARACTERS_MAX]
    text = request.form.get("text", "").strip()[:TEXT_CHARACTERS_MAX]
    if not name or not text:
        return render_template("problem.html", problem="A name and a few words, please."), 422
    session["name"] = name
    with connect() as database:
        database.execute("INSERT INTO entry VALUES (?, ?)", (name, text))
    return redirect(url_for("book"), 303)
