"""The web page: upload a photo of skin and converse about it.

Importing this package sets the privacy switches first, because Gradio reads some of them when it is
imported.
"""

from skingpt4.documents.launch import set_switches

set_switches()
