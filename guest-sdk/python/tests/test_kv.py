"""Key-value buckets outside the sandbox: those in memory do what the server's do."""

import unittest

import fakes  # noqa: F401 (puts the package on the path)

from wasgi import kv
from wasgi.guest import phase


class Buckets(unittest.TestCase):
    def setUp(self):
        kv.memory.clear()
        self.bucket = kv.open("default")

    def test_a_bucket_in_memory_does_what_the_servers_does(self):
        bucket = self.bucket
        self.assertIsNone(bucket.get("a"))
        bucket.set("a", "one")
        self.assertEqual((bucket.get("a"), bucket.get_text("a")), (b"one", "one"))
        self.assertTrue(kv.open("").exists("a"), "an empty name means the default")
        self.assertFalse(kv.open("second").exists("a"))
        bucket.delete("a")
        bucket.delete("a")
        self.assertFalse(bucket.exists("a"))
        self.assertEqual((bucket.increment("n"), bucket.increment("n", -7)), (1, -6))
        bucket.set("n", "x")
        with self.assertRaises(kv.NotANumber):
            bucket.increment("n")
        bucket.set("raw", bytearray(b"\xff"))
        with self.assertRaises(UnicodeDecodeError):
            bucket.get_text("raw")

    def test_an_update_is_repeated_until_nobody_else_has_changed_the_value(self):
        calls = []

        def change(old):
            calls.append(old)
            if len(calls) == 1:
                self.bucket.set("k", "other")
            return (old or b"") + b"!"

        self.assertEqual(self.bucket.update("k", change), b"other!")
        self.assertEqual(calls, [None, b"other"])
        self.assertFalse(self.bucket.compare_and_swap("k", None, "x"))
        self.assertTrue(self.bucket.compare_and_swap("k", "other!", "x"))

    def test_keys_come_in_order_over_several_pages(self):
        keys = [f"{number:04}" for number in range(2500)] + ["é", "\U0001f600"]
        for key in reversed(keys):
            self.bucket.set(key, "")
        self.assertEqual(list(self.bucket.keys()), keys)
        self.bucket.set_many([("a", "1"), ("b", b"2")])
        self.assertEqual(self.bucket.get_many(["b", "c", "a"]), [b"2", None, b"1"])
        self.bucket.delete_many(iter(["a", "c"]))
        self.assertFalse(self.bucket.exists("a"))

    def test_what_no_server_accepts_is_refused(self):
        bucket = self.bucket
        for error, call in (
            (TypeError, lambda: bucket.get(1)),
            (TypeError, lambda: bucket.set("k", 1)),
            (TypeError, lambda: bucket.increment("k", 1.5)),
            (TypeError, lambda: bucket.get_many("keys")),
            (TypeError, lambda: kv.open(b"default")),
            (ValueError, lambda: bucket.get("\ud800")),
            (ValueError, lambda: bucket.set("k", "\ud800")),
            (kv.NotANumber, lambda: bucket.increment("k", 1 << 63)),
            (kv.LimitExceeded, lambda: bucket.get("k" * (1 << 20))),
            (kv.LimitExceeded, lambda: bucket.set("k", b"v" * (5 << 20))),
            (kv.LimitExceeded, lambda: bucket.get_many(str(n) for n in range(10**9))),
            (kv.LimitExceeded, lambda: bucket.set_many((str(n), "") for n in range(10**9))),
            (kv.LimitExceeded, lambda: bucket.set_many([("k", b"v" * (3 << 20))] * 2)),
        ):
            with self.assertRaises(error):
                call()

    def test_a_bucket_that_is_opened_during_the_import_is_used_by_requests(self):
        phase.begin()
        self.addCleanup(phase.end)
        bucket = kv.open("default")
        with self.assertRaisesRegex(kv.Unavailable, "while the application is imported"):
            bucket.get("a")
        phase.end()
        self.assertIsNone(bucket.get("a"))

    def test_the_servers_messages_are_exceptions_of_their_kind(self):
        from wasgi.kv.errors import of_text

        for text, error in (
            ("the key has 2000 bytes; the limit is 1024 (state.key-size)", kv.LimitExceeded),
            ("the bucket is full: it may have 2 keys (state.keys)", kv.LimitExceeded),
            ("the value is not a number in decimal notation, within 64 bits", kv.NotANumber),
            ("the sum is beyond the range of 64 bits", kv.NotANumber),
            ("Redis at localhost:1 is not available: connection refused", kv.Unavailable),
        ):
            self.assertIs(type(of_text(text)), error, text)


if __name__ == "__main__":
    unittest.main()
