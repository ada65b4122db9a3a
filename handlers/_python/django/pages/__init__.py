"""One page with a form, and what it stores."""
