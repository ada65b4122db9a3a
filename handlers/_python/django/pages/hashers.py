"""The password hasher of the demo."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class FewerRounds(PBKDF2PasswordHasher):
    """PBKDF2 with few rounds: the sandbox has no OpenSSL, and a login must fit into a request's CPU
    time. A site with important passwords should verify them elsewhere."""

    iterations = 10_000
