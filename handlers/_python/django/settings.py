"""Settings of the Django demo, which keeps everything in memory.

The database is SQLite in the instance's memory. It is created and filled at the build, so every
request starts with that state, and its changes are discarded afterwards. The session is in a signed
cookie, so a login persists.
"""

import secrets
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

# Generated at the build, and the same in all instances.
SECRET_KEY = secrets.token_hex(32)
DEBUG = False
# The server in front knows its host names.
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "pages",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"

# A login needs more CPU time in the sandbox than with OpenSSL; see pages/hashers.py.
PASSWORD_HASHERS = ["pages.hashers.FewerRounds"]

USE_TZ = True
TIME_ZONE = "UTC"
# The URL path at which urls.py serves them: the handler is django.wasm.
STATIC_URL = "/django/static/"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "ERROR", "propagate": False}},
}
