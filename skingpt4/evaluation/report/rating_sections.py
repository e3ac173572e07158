"""The report's sections on the reader study, the response times and the published figures."""

from collections.abc import Sequence
from dataclasses import replace

from skingpt4.common.errors import PhotoError
from skingpt4.documents.document import Block, Picture, Section, Table, Text
from skingpt4.documents.images import JPEG, PNG, figure_png, jpeg
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.report.analysis import AgreementRow, Analysis, LikertRow, analyse, bars
from skingpt4.evaluation.report.figures import fig_4a, fig_4b
from skingpt4.evaluation.report.guidelines import CASES, RATED, TIMES
from skingpt4.evaluation.report.guidelines import PUBLISHED as PUBLISHED_TITLE
from skingpt4.evaluation.report.inputs import SIMULATED_RATINGS, SIMULATED_TIMES, Evaluation
from skingpt4.evaluation.report.published import (
    DENOMINATORS,
    PUBLISHED,
    RESPONSE_TIME,
    published_share,
)
from skingpt4.evaluation.report.tables import (
    NO_VALUE,
    agreement_table,
    audit_table,
    comparison_table,
    likert_table,
    time_table,
)
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.accuracy import read_response
from skingpt4.evaluation.scoring.comparisons import OWN, score_diagnoses
from skingpt4.evaluation.scoring.statistics import wilson
from skingpt4.evaluation.study.ratings import ITEMS, Rating
from skingpt4.evaluation.study.times import (
    NOTE,
    WHOLE_CONVERSATION,
    compare_times,
    response_times,
    summarise_times,
)

NO_RATINGS = "No ratings: nobody has rated these answers yet (evaluate.py rate)."

NO_TIMES = "No comparison group was entered (times.csv with the columns group, seconds)."

PUBLISHED_NOTE = (
    "The published figures come from other cases, other raters and another model; they stand here "
    "to be read side by side, not to be tested against this run."
)

AUDIT_NOTE = "The published percentages as arithmetic: which whole k of n gives each, if any."


def analyse_ratings(evaluation: Evaluation) -> Analysis:
    """Analyse the ratings; dermatologists stand first, and systems as the answers have them."""
    systems = list(evaluation.scores)

    def place(row: LikertRow | AgreementRow) -> tuple[str, int, int]:
        known = row.system in systems
        return row.rater_kind, systems.index(row.system) if known else len(systems), row.item

    analysis = analyse(evaluation.ratings)
    return Analysis(sorted(analysis.likert, key=place), sorted(analysis.agreement, key=place))


def reader_study(evaluation: Evaluation, analysis: Analysis) -> Section:
    """Fig. 4a and its tables, for each kind of raters and each system."""
    if not evaluation.ratings:
        return Section(RATED, [Text(NO_RATINGS)])
    mark = evaluation.rating_mark
    blocks: list[Block] = [Text(SIMULATED_RATINGS, notice=True)] if mark else []
    for title, rows in bars(analysis.likert):
        figure = figure_png(fig_4a(rows, title, note=mark))
        alt = f"Stacked bars of the ratings, one for each item: {title} {mark}"
        blocks.append(Picture(figure, PNG, alt, f"{mark} Fig. 4a. {title}".strip()))
    blocks.append(_marked(likert_table(analysis.likert), mark))
    blocks.append(_marked(agreement_table(analysis.agreement), mark))
    return Section(RATED, [*blocks, *_own_diagnoses(evaluation)])


def _own_diagnoses(evaluation: Evaluation) -> list[Table]:
    """What raters diagnosed before they saw an answer, beside the systems on the same cases."""
    responses = evaluation.responses.rows
    counts = score_diagnoses(evaluation.cases, evaluation.diagnoses, responses)
    if not counts:
        return []
    columns = (OWN, *evaluation.scores)
    rows = tuple(
        (rater, *(str(wilson(*own[column])) for column in columns)) for rater, own in counts.items()
    )
    caption = (
        "Class named by each rater's own diagnosis, locked before any answer was shown, and by the "
        "systems on the same cases; raters' words are read by the same vocabulary"
    )
    return [Table(caption, ("rater", *columns), rows)]


def times(evaluation: Evaluation) -> Section:
    """Fig. 4b: the systems' response times, and an entered group's beside them."""
    own, entered = response_times(evaluation.responses.rows), evaluation.times
    groups = {**own, **entered}
    if not groups:
        return Section(TIMES, [Text("No response time was measured."), Text(NO_TIMES)])
    mark = evaluation.time_mark
    alt = f"Box plots of response times in seconds of {', '.join(groups)} {mark}"
    figure = figure_png(fig_4b(groups, "Response times", note=mark))
    return Section(
        TIMES,
        [
            *([Text(SIMULATED_TIMES, notice=True)] if mark else []),
            Text(WHOLE_CONVERSATION),
            Text(NOTE if entered else NO_TIMES),
            Picture(figure, PNG, alt, f"{mark} Fig. 4b. Response times".strip()),
            _marked(time_table(summarise_times(groups)), mark),
            *([_marked(comparison_table(compare_times(entered, own)), mark)] if entered else []),
            Text(f"Published: {RESPONSE_TIME}."),
        ],
    )


def published(evaluation: Evaluation, analysis: Analysis) -> Section:
    """This run's shares beside those of the paper and the preprint, and the arithmetic of those."""
    kinds = dict.fromkeys(row.rater_kind for row in analysis.likert)
    entries = [(f"{one.source}, {one.place}: {one.what}", one.percent) for one in PUBLISHED]
    return Section(
        PUBLISHED_TITLE,
        [
            Text(PUBLISHED_NOTE),
            *(_marked(_side_by_side(analysis, kind), evaluation.rating_mark) for kind in kinds),
            Text(AUDIT_NOTE),
            audit_table(entries, list(DENOMINATORS)),
        ],
    )


def _side_by_side(analysis: Analysis, kind: str) -> Table:
    """The published shares, then those of each system as one kind of raters gave them."""
    own = [row for row in analysis.likert if row.rater_kind == kind]
    systems = list(dict.fromkeys(row.system for row in own))
    shares = {(row.system, row.item): str(row.agree) for row in own}
    rows = tuple(
        (
            f"{item}. {text}",
            *(_percent(published_share(source, item)) for source in ("paper", "preprint")),
            *(shares.get((system, item), NO_VALUE) for system in systems),
        )
        for item, text in ITEMS.items()
    )
    caption = f"Agree or strongly agree: published (Fig. 4a), and here by {kind} raters"
    return Table(caption, ("item", "paper", "preprint", *systems), rows)


def _marked(table: Table, mark: str) -> Table:
    """Put the mark of simulated figures before a table's caption."""
    return replace(table, caption=f"{mark} {table.caption}".strip())


def _percent(text: str | None) -> str:
    return f"{text} %" if text else NO_VALUE


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
