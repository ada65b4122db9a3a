"""A guest book: Flask with templates, a form, and a session in a signed cookie.

Each request gets a new instance, so state that should persist is in the cookie.
"""

import secrets

from flask import Flask, redirect, render_template, request, session, url_for

# Limits that keep a visitor's entries within the size of a cookie.
ENTRIES_MAX = 5
NAME_CHARACTERS_MAX = 40
TEXT_CHARACTERS_MAX = 120

app = Flask(__name__)
# Generated at the build, and the same in all instances: cookies are valid until the next build.
app.secret_key = secrets.token_bytes(32)


@app.get("/")
def book():
    """Shows a form and this visitor's entries."""
    session["visits"] = session.get("visits", 0) + 1
    return render_template(
        "book.html",
        entries=session.get("entries", []),
        name=session.get("name", ""),
        visits=session["visits"],
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
    entry = {"name": name, "text": text}
    session["entries"] = [entry, *session.get("entries", [])][:ENTRIES_MAX]
    return redirect(url_for("book"), 303)


@app.post("/forget")
def forget():
    """Clears the session."""
    session.clear()
    return redirect(url_for("book"), 303)
