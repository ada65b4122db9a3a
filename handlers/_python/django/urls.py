"""Maps paths to pages."""

from pathlib import Path

import django.contrib.admin
from django.contrib import admin
from django.urls import path
from django.views.static import serve

from pages import views

# On a real site, `collectstatic` would copy these into the server's html/ folder.
ADMIN_FILES = Path(django.contrib.admin.__file__).parent / "static"

urlpatterns = [
    path("", views.notes, name="notes"),
    path("admin/", admin.site.urls),
    path("static/<path:path>", serve, {"document_root": ADMIN_FILES}),
]
