"""The reader study: who rates what, on a page or on paper, and what they said."""
