"""The database models."""

from django.db import models

# The maximum length of a note.
TEXT_CHARACTERS_MAX = 200


class Note(models.Model):
    """A line of text that a visitor wrote."""

    text = models.CharField(max_length=TEXT_CHARACTERS_MAX)
    written = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.text
