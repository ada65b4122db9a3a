"""The page's form."""

from django import forms

from pages.models import Note


class NoteForm(forms.ModelForm):
    """A form for one note."""

    class Meta:
        model = Note
        fields = ["text"]
