"""Tests the guest book with Flask's test client."""

import tempfile
import unittest
from pathlib import Path

from app import SHOWN_COUNT, app


class GuestBook(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        app.config["DATABASE"] = str(Path(folder.name) / "book.db")
        self.client = app.test_client()

    def write(self, name, text):
        return self.client.post("/", data={"name": name, "text": text}, follow_redirects=True)

    def test_the_page_has_a_form(self):
        page = self.client.get("/")
        self.assertEqual(page.status_code, 200)
        self.assertIn('<form method="post">', page.text)
        self.assertIn("Nothing written yet.", page.text)

    def test_an_entry_is_kept_and_shown_escaped(self):
        page = self.write("Ada", "<b>notes</b>")
        self.assertEqual(page.request.path, "/")
        page = app.test_client().get("/")
        self.assertIn("<strong>Ada</strong>", page.text)
        self.assertIn("&lt;b&gt;notes&lt;/b&gt;", page.text)

    def test_a_visitor_is_known_by_the_session(self):
        self.assertIn("Welcome back, Ada.", self.write("Ada", "words").text)
        self.assertNotIn("Welcome back", app.test_client().get("/").text)

    def test_without_a_folder_nothing_is_kept(self):
        app.config["DATABASE"] = "/nothing/book.db"
        self.assertIn("Nothing written yet.", self.write("Ada", "words").text)

    def test_an_entry_without_a_name_is_refused(self):
        answer = self.write(" ", "words")
        self.assertEqual(answer.status_code, 422)
        self.assertIn("A name and a few words", answer.text)

    def test_the_latest_entries_are_shown(self):
        for number in range(SHOWN_COUNT + 2):
            page = self.write("Ada", f"entry {number}")
        self.assertNotIn("entry 1<", page.text)
        self.assertIn(f"entry {SHOWN_COUNT + 1}<", page.text)

    def test_a_forged_cookie_is_no_session(self):
        self.client.set_cookie("session", "eyJuYW1lIjoiQWRhIn0.x.y")
        self.assertNotIn("Welcome back", self.client.get("/").text)


if __name__ == "__main__":
    unittest.main()
