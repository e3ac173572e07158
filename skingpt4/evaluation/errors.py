"""The error of everything that an evaluation's user can get wrong."""

from skingpt4.common.errors import UserError


class EvaluationError(UserError):
    """A case list, a file of answers or ratings, or an option of the evaluation is not usable."""
