"""Imported while a request is answered, when there is no file system any more."""

ANSWER = 42
