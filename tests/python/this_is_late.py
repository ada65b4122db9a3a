"""Imported during a request, when there is no file system any more."""

ANSWER = 42
