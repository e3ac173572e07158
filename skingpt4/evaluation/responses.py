"""Files of answers: JSON lines, a header first, each case appended as it is answered."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import write_atomically
from skingpt4.evaluation.cases import EvalCase, case_list_hash

HEADER = "header"

Header = dict[str, Any]
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


def read_responses(path: str | Path) -> Responses:
    """Read a file of answers; a last line that a crash cut short is left out.

    Raises:
        EvaluationError: If the file is missing or damaged.
    """
    place = Path(path)
    if not place.is_file():
        raise EvaluationError(
            f"The file of answers '{place}' does not exist; make it with 'evaluate.py run'."
        )
    whole, newline, _ = place.read_text(encoding="utf-8").rpartition("\n")
    lines = whole.split("\n") if newline else []
    try:
        header, *rows = [json.loads(line) for line in lines]
        if header["kind"] != HEADER:
            raise ValueError
        return Responses(header, [_response(row) for row in rows])
    except (ValueError, KeyError, TypeError):
        raise EvaluationError(
            f"'{place}' is no file of answers, or damaged; name one that 'evaluate.py run' wrote."
        ) from None


def _response(row: dict[str, Any]) -> Response:
    answers = [Answer(**answer) for answer in row["answers"]]
    return Response(row["case"], row["system"], answers, row["error"])


def responses_about(path: str | Path, cases: Sequence[EvalCase]) -> Responses:
    """Read answers that belong to a case list.

    Raises:
        EvaluationError: If they belong to another, or the file is missing or damaged.
    """
    responses = read_responses(path)
    if responses.header["case_list"] != case_list_hash(cases):
        raise EvaluationError(
            f"'{path}' has answers about another case list than the one given; name the list "
            "that they belong to with --cases."
        )
    return responses


def rows_about(path: Path, cases: Sequence[EvalCase]) -> list[Response]:
    """Read the answers of a file that need not be there; see :func:`responses_about`."""
    return responses_about(path, cases).rows if path.exists() else []


def write_responses(path: str | Path, responses: Responses) -> None:
    """Write a whole file, atomically."""
    lines = [responses.header, *map(asdict, responses.rows)]
    body = "".join(_line(line) for line in lines)
    write_atomically(path, lambda file: cast(None, file.write_text(body, encoding="utf-8")))


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


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
        write_responses(self.path, begun)
        self.done = {row.key for row in begun.rows}

    def write(self, response: Response) -> None:
        """Append one response."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(asdict(response)))
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


def in_case_order(
    rows: Sequence[Response], cases: Sequence[str], systems: Sequence[str]
) -> list[Response]:
    """Sort responses by system, then case; a repeated one counts once, the last."""
    latest = {row.key: row for row in rows}
    order = [(case, system) for system in systems for case in cases]
    return [latest[key] for key in order if key in latest]
