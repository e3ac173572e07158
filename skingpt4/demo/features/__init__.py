"""The page's panels, one a file: ``lay_out`` makes its parts, ``wire`` connects them.

What they share is in ``page.py``; ``app.py`` puts them together.
"""
