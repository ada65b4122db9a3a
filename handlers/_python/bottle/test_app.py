"""Tests the Bottle application with WebTest, as Bottle's documentation recommends."""

import unittest

from webtest import TestApp

from app import app


class Bottle(unittest.TestCase):
    def setUp(self):
        self.client = TestApp(app)

    def test_the_page_greets(self):
        self.assertIn("Hello, world!", self.client.get("/"))
        self.assertIn("Hello, &lt;Zoë&gt;!", self.client.get("/", {"name": "<Zoë>"}))

    def test_parts_of_the_path_are_numbers(self):
        self.assertEqual(self.client.get("/sum/20/22").json, {"a": 20, "b": 22, "sum": 42})
        self.client.get("/sum/20/x", status=404)

    def test_a_body_is_streamed(self):
        self.assertEqual(self.client.get("/count/3").text, "1\n2\n3\n")

    def test_a_body_is_read(self):
        self.assertEqual(self.client.post("/length", "x" * 100_000).json, {"length": 100_000})


if __name__ == "__main__":
    unittest.main()
