"""Tests the site with Django's test client."""

import re

from django.contrib.auth.models import User
from django.test import Client, TestCase

from pages.models import TEXT_CHARACTERS_MAX, Note


class Notes(TestCase):
    def test_the_page_has_a_form(self):
        page = self.client.get("/")
        self.assertContains(page, 'name="csrfmiddlewaretoken"')
        self.assertTemplateUsed(page, "pages/notes.html")

    def test_a_note_is_kept_and_escaped(self):
        page = self.client.post("/", {"text": "<b>Buy tea</b>"})
        self.assertContains(page, "&lt;b&gt;Buy tea&lt;/b&gt;")
        self.assertEqual(Note.objects.get().text, "<b>Buy tea</b>")

    def test_a_note_that_is_too_long_is_refused(self):
        page = self.client.post("/", {"text": "x" * (TEXT_CHARACTERS_MAX + 1)})
        self.assertContains(page, f"at most {TEXT_CHARACTERS_MAX} characters")
        self.assertEqual(Note.objects.count(), 0)

    def test_a_form_without_its_token_is_refused(self):
        strict = Client(enforce_csrf_checks=True)
        self.assertEqual(strict.post("/", {"text": "x"}).status_code, 403)

    def test_a_form_with_its_token_is_taken(self):
        strict = Client(enforce_csrf_checks=True)
        token = re.search(
            r'name="csrfmiddlewaretoken" value="(\w+)"', strict.get("/").text
        ).group(1)
        page = strict.post("/", {"text": "with a token", "csrfmiddlewaretoken": token})
        self.assertContains(page, "with a token")


class Admin(TestCase):
    @classmethod
    def setUpTestData(cls):
        User.objects.create_superuser("demo", password="demo")

    def test_strangers_are_asked_to_log_in(self):
        self.assertRedirects(self.client.get("/admin/"), "/admin/login/?next=/admin/")
        self.assertContains(self.client.get("/admin/login/"), 'name="password"')

    def test_a_login_leads_to_the_index(self):
        page = self.client.post(
            "/admin/login/?next=/admin/", {"username": "demo", "password": "demo"}, follow=True
        )
        self.assertContains(page, "Site administration")
        self.assertContains(page, "Notes")

    def test_a_wrong_password_is_refused(self):
        page = self.client.post("/admin/login/", {"username": "demo", "password": "other"})
        self.assertContains(page, "Please enter the correct username and password")

    def test_the_admin_has_its_style(self):
        style = self.client.get("/static/admin/css/base.css")
        self.assertEqual(style["Content-Type"], "text/css")
        self.assertIn(b"--primary", b"".join(style.streaming_content))
