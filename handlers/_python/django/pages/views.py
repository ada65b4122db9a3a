"""The page."""

from django.shortcuts import render

from pages.forms import NoteForm
from pages.models import Note


def notes(request):
    """Shows the notes and the form, and stores what is posted.

    There is no redirect after the post: the note is gone with the instance that stored it.
    """
    form = NoteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        form = NoteForm()
    return render(
        request, "pages/notes.html", {"form": form, "notes": Note.objects.order_by("-pk")}
    )
