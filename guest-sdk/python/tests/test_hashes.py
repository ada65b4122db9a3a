"""The functions of `hashlib` that CPython takes from OpenSSL, compared with OpenSSL's."""

import hashlib
import unittest

import fakes  # noqa: F401 (puts the package on the path)

from wasgi.guest import hashes

try:
    _openssl = hashlib.pbkdf2_hmac
except AttributeError:
    _openssl = None


class Names(unittest.TestCase):
    def test_openssls_names_of_hashes_are_known(self):
        for name, known in (
            ("SHA-256", "sha256"),
            ("sha-512", "sha512"),
            ("SHA2-224", "sha224"),
            ("Sha384", "sha384"),
            ("SHA-1", "sha1"),
            ("MD5", "md5"),
            ("SHA3-256", "sha3_256"),
            ("SHAKE128", "shake_128"),
            ("BLAKE2b512", "blake2b"),
        ):
            made = hashes.new(name, b"text")
            expected = hashlib.new(known, b"text")
            self.assertEqual(made.name.lower().replace("-", "_"), expected.name, name)
            length = (16,) if "shake" in known else ()
            self.assertEqual(made.hexdigest(*length), expected.hexdigest(*length), name)
            # In the sandbox, this is the function above.
            self.assertEqual(hashlib.new(name).digest_size, made.digest_size)

    def test_other_names_are_refused_as_by_hashlib(self):
        for name, error in (("SHA-512/255", ValueError), ("sha", ValueError), (5, TypeError)):
            with self.assertRaises(error, msg=name):
                hashes.new(name)


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
