"""Tests the guest book with Flask's test client."""

import unittest

from app import ENTRIES_MAX, app


class GuestBook(unittest.TestCase):
    def setUp(self):
        self.client = app.test_client()

    def write(self, name, text):
        return self.client.post("/", data={"name": name, "text": text}, follow_redirects=True)

    def test_the_page_has_a_form(self):
        page = self.client.get("/")
        self.assertEqual(page.status_code, 200)
        self.assertIn('<form method="post">', page.text)
        self.assertIn("Nothing written yet.", page.text)

    def test_visits_are_counted_in_the_session(self):
        for number in (1, 2, 3):
            self.assertIn(f"visit number {number}.", self.client.get("/").text)

    def test_an_entry_is_shown_escaped(self):
        page = self.write("Ada", "<b>notes</b>")
        self.assertEqual(page.request.path, "/")
        self.assertIn("<strong>Ada</strong>", page.text)
        self.assertIn("&lt;b&gt;notes&lt;/b&gt;", page.text)

    def test_an_entry_without_a_name_is_refused(self):
        answer = self.write(" ", "words")
        self.assertEqual(answer.status_code, 422)
        self.assertIn("A name and a few words", answer.text)

    def test_only_the_last_entries_are_kept(self):
        for number in range(ENTRIES_MAX + 2):
            page = self.write("Ada", f"entry {number}")
        self.assertNotIn("entry 1<", page.text)
        self.assertIn(f"entry {ENTRIES_MAX + 1}<", page.text)

    def test_forget_empties_the_session(self):
        self.write("Ada", "words")
        page = self.client.post("/forget", follow_redirects=True)
        self.assertIn("visit number 1.", page.text)
        self.assertIn("Nothing written yet.", page.text)

    def test_links_are_below_the_place_it_is_served_at(self):
        self.write("Ada", "words")
        page = self.client.get("/", environ_overrides={"SCRIPT_NAME": "/flask"})
        self.assertIn('action="/flask/forget"', page.text)

    def test_a_forged_cookie_is_no_session(self):
        self.client.set_cookie("session", "eyJ2aXNpdHMiOjk5fQ.x.y")
        self.assertIn("visit number 1.", self.client.get("/").text)


if __name__ == "__main__":
    unittest.main()
