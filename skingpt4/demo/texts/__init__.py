"""What the page says, in English and Chinese: one module a panel, each with ``EN`` and ``ZH``.

Both dictionaries have the same keys and, in each text, the same ``{placeholders}``; a test holds
that. :mod:`skingpt4.demo.i18n` reads them: the text ``title`` of ``consent.py`` is
``consent.title``.
"""
