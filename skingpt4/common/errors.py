"""Errors that a user can cause: one sentence with the value, the place and the remedy."""


class UserError(Exception):
    """Base of every error that scripts show as one sentence, without a traceback.

    Args:
        sentence: In English.
        key: Names the sentence for the page's other languages: ``errors.<key>`` in their texts.
        values: What the sentence is filled with, for a translation to be filled with, too.
    """

    def __init__(self, sentence: str = "", key: str = "", **values: object) -> None:
        super().__init__(sentence)
        self.key, self.values = key, values


class ConfigError(UserError):
    """A configuration file, key, value or option is not usable."""


class PhotoError(UserError):
    """A photo cannot be opened safely."""


class DatasetError(UserError):
    """A data set is missing, malformed or has no usable sample."""


class WeightsError(UserError):
    """A weight file is missing, corrupt or does not fit the model."""


class ChatError(UserError):
    """A question or a conversation cannot be processed."""


class EvaluationError(UserError):
    """A case list, a file of answers or ratings, or an option of the evaluation is not usable."""
