"""The report's sections on the reader study, the response times and the published figures."""

from dataclasses import replace

from skingpt4.evaluation.analysis import AgreementRow, Analysis, LikertRow, analyse, bars
from skingpt4.evaluation.document import Block, Picture, Section, Table, Text
from skingpt4.evaluation.figures import fig_4a, fig_4b
from skingpt4.evaluation.guidelines import PUBLISHED as PUBLISHED_TITLE
from skingpt4.evaluation.guidelines import RATED, TIMES
from skingpt4.evaluation.pictures import PNG, figure_png
from skingpt4.evaluation.published import DENOMINATORS, PUBLISHED, RESPONSE_TIME, published_share
from skingpt4.evaluation.rater_diagnoses import OWN, score_diagnoses
from skingpt4.evaluation.ratings import ITEMS
from skingpt4.evaluation.report_data import SIMULATED_RATINGS, SIMULATED_TIMES, Evaluation
from skingpt4.evaluation.statistics import wilson
from skingpt4.evaluation.tables import (
    NO_VALUE,
    agreement_table,
    audit_table,
    comparison_table,
    likert_table,
    time_table,
)
from skingpt4.evaluation.times import (
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
