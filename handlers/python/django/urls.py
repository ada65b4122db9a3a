"""Which page answers where."""

from django.contrib import admin
from django.urls import path

from pages import views

urlpatterns = [
    path("", views.notes, name="notes"),
    path("admin/", admin.site.urls),
]
