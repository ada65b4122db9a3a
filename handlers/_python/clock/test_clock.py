"""Tests the clock by calling it as a server would, checked by `wsgiref.validate`."""

import unittest
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from clock import application


class Clock(unittest.TestCase):
    def test_it_tells_the_time(self):
        environ = {"QUERY_STRING": ""}
        setup_testing_defaults(environ)
        heads = []
        blocks = validator(application)(
            environ, lambda status, headers, exc_info=None: heads.append(status) or list.append
        )
        try:
            body = b"".join(blocks)
        finally:
            blocks.close()
        self.assertEqual(heads, ["200 OK"])
        self.assertRegex(body.decode(), r"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n$")


if __name__ == "__main__":
    unittest.main()
