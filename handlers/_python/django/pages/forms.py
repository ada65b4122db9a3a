"""The form of the page."""

from django import forms

from pages.models import Note


class NoteForm(forms.ModelForm):
    """Takes one note."""

    class Meta:
        model = Note
        fields = ["text"]
