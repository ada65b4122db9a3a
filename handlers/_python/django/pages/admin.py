"""What the admin manages."""

from django.contrib import admin

from pages.models import Note

admin.site.register(Note)
