"""How passwords are kept."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class FewerRounds(PBKDF2PasswordHasher):
    """PBKDF2 with few rounds: the sandbox has no OpenSSL, and a login is to fit into a request's
    processor time. A site with passwords that matter checks them elsewhere."""

    iterations = 10_000
