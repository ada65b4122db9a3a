"""The Python implementation of `pbkdf2_hmac`, compared with OpenSSL's."""

import hashlib
import unittest

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import hashes

try:
    _openssl = hashlib.pbkdf2_hmac
except AttributeError:
    _openssl = None


class Pbkdf2(unittest.TestCase):
    @unittest.skipIf(_openssl is None, "this Python has no OpenSSL")
    def test_it_derives_what_openssl_derives(self):
        for name in ("sha1", "SHA-256", "sha512", "md5"):
            for password, salt, iterations, length in (
                (b"secret", b"salt", 1, None),
                (b"", b"", 3, 1),
                (b"p" * 200, b"s" * 65, 2, 150),
            ):
                arguments = (name, password, salt, iterations, length)
                self.assertEqual(hashes.pbkdf2_hmac(*arguments), _openssl(*arguments), arguments)

    def test_what_it_does_not_take_is_refused(self):
        for wrong, error in (
            ((b"sha256", b"p", b"s", 1), TypeError),
            (("sha256", "p", b"s", 1), TypeError),
            (("sha256", b"p", "s", 1), TypeError),
            (("sha256", b"p", b"s", 0), ValueError),
            (("sha256", b"p", b"s", 1, 0), ValueError),
            (("nothing", b"p", b"s", 1), ValueError),
        ):
            with self.assertRaises(error, msg=wrong):
                hashes.pbkdf2_hmac(*wrong)

    def test_scrypt_checks_its_numbers_before_it_takes_memory(self):
        for numbers in ({"n": 1}, {"n": 3}, {"n": 1 << 20}, {"r": 0}, {"p": 1 << 30}, {"dklen": 0}):
            with self.assertRaises(ValueError, msg=numbers):
                hashes.scrypt(b"p", salt=b"s", **{"n": 2, "r": 8, "p": 1, **numbers})


if __name__ == "__main__":
    unittest.main()
