"""Reading what an answer says: the classes and concepts that it names, considers or denies."""

from skingpt4.labeler.labeler import Match, Reading, score_text

__all__ = ["Match", "Reading", "score_text"]
