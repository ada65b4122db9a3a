"""A page with a form, and its stored notes."""
