"""The WSGI application, with a prepared database: tables, a user, and a first note."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from pages.models import Note  # noqa: E402

call_command("migrate", verbosity=0)
User.objects.create_superuser("demo", password="demo")
Note.objects.create(text="This one was written while the handler was built.")
