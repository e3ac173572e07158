"""The report's case pages: each photo with every system's answers and ratings."""

from collections.abc import Sequence

from skingpt4.common.errors import PhotoError
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.document import Block, Picture, Section, Table, Text
from skingpt4.evaluation.guidelines import CASES
from skingpt4.evaluation.pictures import JPEG, jpeg
from skingpt4.evaluation.ratings import ITEMS, Rating
from skingpt4.evaluation.report_data import Evaluation
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring import read_response
from skingpt4.evaluation.tables import NO_VALUE

PHOTO_SIDE = 320
QUESTION_NAMES = ("Description", "Further features", "Cause", "Treatment")
"""Short for the paper's four questions, in order."""


def case_pages(evaluation: Evaluation) -> list[Section]:
    """One section for each case, each on a page of its own when printed."""
    answers: dict[str, list[Response]] = {}
    for row in evaluation.responses.rows:
        answers.setdefault(row.case, []).append(row)
    ratings: dict[str, list[Rating]] = {}
    for rating in evaluation.ratings:
        ratings.setdefault(rating.case, []).append(rating)
    pages = [
        Section(
            f"Case {case.id}",
            [
                _photo(case),
                Text(_facts(case)),
                *_answers(case, answers.get(case.id, [])),
                *_ratings(evaluation, ratings.get(case.id, [])),
            ],
            level=2,
            new_page=True,
        )
        for case in evaluation.cases
    ]
    return [Section(CASES, [Text("Each case on a page of its own.")], new_page=True), *pages]


def _photo(case: EvalCase) -> Block:
    try:
        data = jpeg(case.image, PHOTO_SIDE)
    except PhotoError as error:
        return Text(str(error), notice=True)
    return Picture(data, JPEG, f"The photo of case {case.id}", small=True)


def _facts(case: EvalCase) -> str:
    facts = {
        "class": case.disease_class,
        "disease": case.label,
        "concepts": ", ".join(case.concepts),
        "skin type": case.fitzpatrick,
        "source": case.source,
    }
    return "; ".join(f"{name}: {value}" for name, value in facts.items() if value)


def _answers(case: EvalCase, responses: Sequence[Response]) -> list[Block]:
    if not responses:
        return [Text("No system has answered.")]
    rows = [
        (name, *(_answer(row, place) for row in responses))
        for place, name in enumerate(QUESTION_NAMES)
    ]
    rows.append(("Read as", *(_reading(row) for row in responses)))
    head = ("asked for", *(row.system for row in responses))
    return [Table(f"Answers to case {case.id}", head, tuple(rows), numbers=False)]


def _answer(row: Response, place: int) -> str:
    if place < len(row.answers):
        return row.answers[place].text
    return f"failed: {row.error}" if row.error else NO_VALUE


def _reading(row: Response) -> str:
    """Say which class the first answer was read as, and from which words."""
    diagnosis, _ = read_response(row)
    if diagnosis.top is None:
        return "declines to name a disease" if diagnosis.abstained else "names no class"
    words = [
        match.words
        for match in diagnosis.trace
        if match.kind == "class" and match.name == diagnosis.top and not match.negated
    ]
    return f"{diagnosis.top} (from “{'”, “'.join(dict.fromkeys(words))}”)"


def _ratings(evaluation: Evaluation, ratings: Sequence[Rating]) -> list[Block]:
    """Every rater's score of each item, a row for each system; raters stand in one order."""
    if not ratings:
        return []
    scores = {(one.rater, one.system, one.item): str(one.score) for one in ratings}
    raters = list(dict.fromkeys(one.rater for one in sorted(ratings)))
    rows = tuple(
        (
            system or NO_VALUE,
            *(" ".join(scores.get((name, system, n), NO_VALUE) for name in raters) for n in ITEMS),
        )
        for system in (*evaluation.scores, "")
        if any(one.system == system for one in ratings)
    )
    order = ", ".join(raters)
    caption = f"{evaluation.rating_mark} Ratings of each item, 1 to 5, by {order}".strip()
    return [Table(caption, ("system", *(f"item {n}" for n in ITEMS)), rows)]
