"""Registers the models that the admin site manages."""

from django.contrib import admin

from pages.models import Note

admin.site.register(Note)
