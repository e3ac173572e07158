"""The drawn skin world: case -> photograph, captions, dialogues, data sets."""
