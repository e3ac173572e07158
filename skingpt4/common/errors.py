"""Errors that a user can cause: one sentence with the value, the place and the remedy."""


class UserError(Exception):
    """Base of every error that scripts show as one sentence, without a traceback."""


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
