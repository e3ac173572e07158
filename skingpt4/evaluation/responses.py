"""Files of answers: JSON lines, a header first, each case appended as it is answered."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import json_line, read_json_lines, write_json_lines
from skingpt4.evaluation.cases import EvalCase, case_list_hash

# Files of an evaluation folder: answers to the four questions, concepts, repeated diagnoses.
RESPONSES_NAME, CONCEPTS_NAME, CONSISTENCY_NAME = (
    "responses.jsonl",
    "concepts.jsonl",
    "consistency.jsonl",
)

HEADER = "header"

Header = dict[str, Any]

# Case and system.
Key = tuple[str, str]


@dataclass
class Answer:
    """One answer.

    Attributes:
        question: What was asked.
        text: What was answered.
        seconds_to_first: Until the first token, of the photo's encoding on; None if unknown.
        seconds: Until the last token; None if unknown.
        tokens: Tokens of the answer; None if unknown.
    """

    question: str
    text: str
    seconds_to_first: float | None = None
    seconds: float | None = None
    tokens: int | None = None


@dataclass
class Response:
    """What one system answered about one case; ``error`` says why answers are missing."""

    case: str
    system: str
    answers: list[Answer] = field(default_factory=list)
    error: str = ""

    @property
    def key(self) -> Key:
        """Case and system, which no two responses of a file share."""
        return self.case, self.system


@dataclass
class Responses:
    """A whole file.

    Attributes:
        header: ``case_list`` (hash), ``systems`` (how each answered), ``environments`` (versions
            and machines).
        rows: In the file's order.
    """

    header: Header
    rows: list[Response]

    @property
    def systems(self) -> dict[str, dict[str, Any]]:
        """How each system answered, by its name."""
        systems: dict[str, dict[str, Any]] = self.header.get("systems", {})
        return systems


def read_responses(path: str | Path, cases: Sequence[EvalCase] | None = None) -> Responses:
    """Read a file of answers; a last line that a crash cut short is left out.

    Args:
        path: The file.
        cases: The case list that it must belong to; by default any.

    Raises:
        EvaluationError: If the file is missing, damaged, or about another case list.
    """
    place = Path(path)
    if not place.is_file():
        raise EvaluationError(
            f"The file of answers '{place}' does not exist; make it with 'evaluate.py run'."
        )
    try:
        header, *rows = read_json_lines(place)
        if header["kind"] != HEADER:
            raise ValueError
        responses = [
            Response(
                row["case"], row["system"], [Answer(**a) for a in row["answers"]], row["error"]
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(
            f"'{place}' is no file of answers, or damaged; name one that 'evaluate.py run' wrote."
        ) from None
    if cases is not None and header["case_list"] != case_list_hash(cases):
        raise EvaluationError(
            f"'{place}' has answers about another case list than the one given; name the list "
            "that they belong to with --cases."
        )
    return Responses(header, responses)


def write_responses(path: str | Path, responses: Responses) -> None:
    """Write a whole file, atomically."""
    write_json_lines(path, [responses.header, *map(asdict, responses.rows)])


class ResponseWriter:
    """Appends responses to a file, new or begun earlier; each is on the disk before the next.

    Attributes:
        done: Case and system of every response in the file.

    Raises:
        EvaluationError: If the file belongs to another case list, or has answers of a system of
            the same name that is set up otherwise; it is left as it is.
    """

    def __init__(self, path: str | Path, header: Header) -> None:
        self.path = Path(path)
        begun = read_responses(self.path) if self.path.is_file() else Responses({}, [])
        begun.header = merge_headers(begun.header, header, self.path)
        # Written whole once, which also takes off a line that a crash cut short.
        write_responses(self.path, begun)
        self.done = {row.key for row in begun.rows}

    def write(self, response: Response) -> None:
        """Append one response."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json_line(asdict(response)))
            file.flush()
            os.fsync(file.fileno())
        self.done.add(response.key)


def merge_headers(old: Header, new: Header, path: Path) -> Header:
    """Return the header of a file that goes on under ``new``.

    Raises:
        EvaluationError: If the two contradict each other.
    """
    if old and old["case_list"] != new["case_list"]:
        raise EvaluationError(
            f"'{path}' has answers about another case list ({old['case_list'][:12]}…, not "
            f"{new['case_list'][:12]}…); name another --output, or that list."
        )
    before, now = old.get("systems", {}), new.get("systems", {})
    # A name stands for one set-up: mixed answers would be scored as those of one system.
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            keys = [key for key in now[name] if now[name][key] != before[name].get(key)]
            raise EvaluationError(
                f"'{path}' has answers of '{name}' with another {' and '.join(keys)}; give the "
                "system another name, or name another --output."
            )
    environments = list(old.get("environments", []))
    environments += [entry for entry in new.get("environments", []) if entry not in environments]
    return {
        "kind": HEADER,
        "case_list": new["case_list"],
        "systems": {**before, **now},
        "environments": environments,
    }
