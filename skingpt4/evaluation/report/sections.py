"""The report's sections: what was done, the automatic scores, the reader study, the times."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from skingpt4.dermatology import CLASS_NAMES, QUESTIONS
from skingpt4.documents.document import Block, Picture, Section, Table, Text
from skingpt4.documents.images import PNG, figure_png
from skingpt4.evaluation.cases import case_list_hash, class_balance
from skingpt4.evaluation.report.analysis import AgreementRow, Analysis, LikertRow, bars
from skingpt4.evaluation.report.figures import confusion_figure, fig_4a, fig_4b, fig_4c
from skingpt4.evaluation.report.inputs import SIMULATED_RATINGS, SIMULATED_TIMES, Evaluation
from skingpt4.evaluation.report.reference import (
    ACCURACY,
    DENOMINATORS,
    FIGURES,
    METHODS,
    PUBLISHED,
    RATED,
    REPEATED,
    RESPONSE_TIME,
    SKIN,
    SOURCES,
    TIMES,
    published_shares,
)
from skingpt4.evaluation.report.result_tables import (
    NO_VALUE,
    agreement_table,
    audit_table,
    comparison_table,
    interval_text,
    likert_table,
    paired_table,
    time_table,
)
from skingpt4.evaluation.scoring.accuracy import ConceptScore, Count, f1_difference
from skingpt4.evaluation.scoring.comparisons import OWN, score_diagnoses
from skingpt4.evaluation.scoring.statistics import Interval, wilson
from skingpt4.evaluation.study.ratings import ITEMS
from skingpt4.evaluation.study.times import NOTE, WHOLE_CONVERSATION, compare_times, summarise_times

HOW = (
    "Each case is one conversation: its photo and the paper's four questions, asked in order, "
    "answered by each system on its own. Every share is given with its count k/n and a 95 % "
    "interval: Wilson's for independent cases, a rater × case bootstrap for ratings (items 6 and 7 "
    "are about the rater, who is then counted once), clustered by image for repeated diagnoses.",
    "Automatic scores read the free text by a fixed, documented vocabulary with synonyms and "
    "negation. A case is named if its first answer settles on the right class; concepts are read "
    "from the first two answers. A malignant case is missed if the first answer names no malignant "
    "disease. Cases that failed count as not named.",
    "All of it can be made again with the project's code, which also draws the built-in cases; the "
    "hashes of cases and weights, the settings and the versions are below.",
    "With 15 equally frequent classes, guessing names 6.7 % of cases.",
)

SCORE_HEAD = (
    "system",
    "class named",
    "class mentioned",
    "malignancy missed",
    "answers all different",
    "abstained",
    "failed",
)

CONCEPT_HEAD = ("system", "precision", "recall", "F1")

CONSISTENCY_NOTE = (
    "Each image was diagnosed several times, independently. The paper reports 93.73 % for 10 "
    "diagnoses of each of 45 images and does not say which of these shares that is."
)

# In place of what is missing: why it is, and how to get it.
NO_RATINGS = "No ratings: nobody has rated these answers yet (evaluate.py rate)."

NO_TIMES = "No comparison group was entered (times.csv with the columns group, seconds)."

PUBLISHED_NOTE = (
    "The published figures come from other cases, other raters and another model; they stand here "
    "to be read side by side, not to be tested against this run."
)

AUDIT_NOTE = "The published percentages as arithmetic: which whole k of n gives each, if any."

# Digits of a sha256 that are shown: enough to compare by eye.
SHORT_HASH = 12


def methods(evaluation: Evaluation) -> Section:
    """What was done: questions, cases, systems, machine."""
    cases, audit = evaluation.cases, evaluation.audit
    # A list that keeps silent about its photos says so in the report.
    sources = sorted({case.source or "not stated" for case in cases})
    listed = (
        f"{len(cases)} cases (source: {', '.join(sources)}); the list's sha256 is "
        f"{case_list_hash(cases)}."
    )
    # Said either way: silence would be read as a check that found nothing.
    compared = "The photos were not compared with a training set."
    if audit is not None:
        found = f"cases {', '.join(audit.leaks)} look alike" if audit.leaks else "none look alike"
        compared = (
            f"The photos were compared with {audit.training_images} training photos by sha256 and "
            f"perceptual hash: {found}."
        )
    questions = tuple((str(n), text) for n, text in enumerate(QUESTIONS, start=1))
    balance = tuple((name, str(count)) for name, count in class_balance(cases).items())
    blocks: list[Block] = [
        *map(Text, HOW),
        Table("The four questions (paper)", ("number", "question"), questions, numbers=False),
        Text(listed),
        Text(compared),
        Table(f"Cases of each class, of {len(cases)}", ("class", "cases"), balance),
    ]
    # What it takes to repeat each system's answers: a row for each setting, a column per system.
    systems = {name: _flat(record) for name, record in evaluation.responses.systems.items()}
    if systems:
        keys = dict.fromkeys(key for record in systems.values() for key in record)
        # Systems of different kinds have different settings, so that cells may stay empty.
        settings = [(k, *(record.get(k, NO_VALUE) for record in systems.values())) for k in keys]
        head = ("setting", *systems)
        blocks.append(Table("The systems", head, tuple(settings), numbers=False))
    # Answers may come from several machines: one that was interrupted goes on elsewhere.
    machines = evaluation.responses.header.get("environments", [])
    for number, machine in enumerate(machines, start=1):
        title, pairs = f"Machine and versions {number}", tuple(_flat(machine).items())
        blocks.append(Table(title, ("setting", "value"), pairs, numbers=False))
    return Section(METHODS, blocks)


def _flat(record: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Write a nested record as dotted names and texts; hashes are cut short."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = str(value)
            # The form of a sha256 in hexadecimal digits.
            is_hash = len(text) == 64 and text.isalnum()
            flat[prefix + key] = text[:SHORT_HASH] if is_hash else text
    return flat


def accuracy(evaluation: Evaluation) -> Section:
    """What the automatic scores amount to, overall and by class."""
    scores, pairs, asked = evaluation.scores, evaluation.pairs, evaluation.asked_concepts
    # Counts beside shares: 3/3 and 150/150 are both 100 %.
    overall = tuple(
        (
            name,
            str(wilson(one.hits, one.n)),
            str(wilson(one.mentioned_hits, one.n)),
            str(wilson(*one.missed_malignancy)),
            *(f"{k}/{one.n}" for k in (one.all_different, one.abstained, one.failed)),
        )
        for name, one in scores.items()
    )
    told = tuple((name, *_concept_cells(one.concepts)) for name, one in scores.items())
    blocks: list[Block] = [
        Table("Each system's answers, k/n with 95 % intervals", SCORE_HEAD, overall)
    ]
    if pairs:
        blocks.append(paired_table(pairs))
    blocks.append(Table("Concepts named in the first two answers", CONCEPT_HEAD, told))
    if asked:
        first = next(iter(asked.values()))
        # All systems are held against the first, as in the table of pairs.
        ahead = [
            NO_VALUE if one is first else interval_text(f1_difference(first, one))
            for one in asked.values()
        ]
        rows = tuple(
            (name, *_concept_cells(one), difference)
            for (name, one), difference in zip(asked.items(), ahead, strict=True)
        )
        caption = (
            "Concepts named when asked for them, in a conversation of its own (step 1's question)"
        )
        blocks.append(Table(caption, (*CONCEPT_HEAD, "the first system's F1 is larger by"), rows))
    by_class = {name: one.per_class for name, one in scores.items()}
    blocks.append(_group_table("Class named, by class", by_class))
    # Pictures last: tables are what is compared.
    for name, one in scores.items():
        # The text says what the picture is looked at for: how much lies on the diagonal.
        figure = figure_png(confusion_figure(one.confusion, CLASS_NAMES, name))
        alt = f"Confusion matrix of {name}: {one.hits} of {one.n} cases on the diagonal"
        blocks.append(Picture(figure, PNG, alt))
    return Section(ACCURACY, blocks)


def _concept_cells(one: ConceptScore) -> tuple[str, ...]:
    """Precision, recall and F1, the last with its bootstrap interval over cases."""
    # Bounds of nan: precision and recall have no interval, and are printed without one.
    return (
        interval_text(Interval(one.precision, np.nan, np.nan)),
        interval_text(Interval(one.recall, np.nan, np.nan)),
        interval_text(Interval(one.f1, one.low, one.high)),
    )


def _group_table(caption: str, groups: Mapping[str, Mapping[str, Count]]) -> Table:
    """Rows are groups, columns systems."""
    # Not a set: groups stand in the order of the systems' own tables.
    # 0 of 0 is printed as "none": a system that answered few cases may lack a group.
    names = dict.fromkeys(group for one in groups.values() for group in one)
    rows = tuple(
        (name, *(str(wilson(*one.get(name, (0, 0)))) for one in groups.values())) for name in names
    )
    return Table(caption, ("group", *groups), rows)


def subgroups(evaluation: Evaluation) -> Section:
    """The share of cases named by skin type and by photo quality."""
    scores = evaluation.scores
    skin = {name: one.per_skin_type for name, one in scores.items()}
    quality = {name: one.per_quality for name, one in scores.items()}
    # The warning first: a large difference between small groups is what catches the eye.
    blocks: list[Block] = [
        Text("Differences between groups of this size are rarely more than chance."),
        _group_table("Class named, by Fitzpatrick type", skin),
        _group_table("Class named, by photo quality (thresholds are ours)", quality),
    ]
    return Section(SKIN, blocks)


def consistency(evaluation: Evaluation) -> Section:
    """Fig. 4c: how alike repeated diagnoses of the same image are."""
    if not evaluation.consistency:
        return Section(REPEATED, [Text("No repeated diagnoses were drawn.")])
    rows = tuple(
        (
            name,
            str(len(one.images)),
            interval_text(one.modal),
            interval_text(one.pairwise),
            str(one.all_same),
            str(one.failed),
        )
        for name, one in evaluation.consistency.items()
    )
    head = ("system", "images", "usual diagnosis", "pairs that agree", "all the same", "failed")
    figure = figure_png(fig_4c(evaluation.modal_shares, "Repeated diagnoses of the same image"))
    alt = "For each image, the share of its diagnoses that are the commonest one"
    blocks: list[Block] = [
        Text(CONSISTENCY_NOTE),
        Picture(figure, PNG, alt, "Fig. 4c. Each point is an image."),
        Table("Shares of repeated diagnoses; 95 % intervals clustered by image", head, rows),
    ]
    return Section(REPEATED, blocks)


def sorted_analysis(evaluation: Evaluation) -> Analysis:
    """Return the ratings' analysis; dermatologists stand first, and systems as in the answers."""
    systems = list(evaluation.scores)

    def place(row: LikertRow | AgreementRow) -> tuple[str, int, int]:
        known = row.system in systems  # items 6 and 7 may be asked of no system: they stand last
        return row.rater_kind, systems.index(row.system) if known else len(systems), row.item

    # The kinds' own names sort as they should: "dermatologist", then "lay".
    analysis = evaluation.analysis
    return Analysis(sorted(analysis.likert, key=place), sorted(analysis.agreement, key=place))


def reader_study(evaluation: Evaluation, analysis: Analysis) -> Section:
    """Fig. 4a and its tables, for each kind of raters and each system."""
    if not evaluation.ratings:
        return Section(RATED, [Text(NO_RATINGS)])
    # The mark stands in the figure itself, too: pictures are copied without their captions.
    mark = evaluation.rating_mark
    blocks: list[Block] = [Text(SIMULATED_RATINGS, notice=True)] if mark else []
    for title, rows in bars(analysis.likert):
        figure = figure_png(fig_4a(rows, title, note=mark))
        alt = f"Stacked bars of the ratings, one for each item: {title} {mark}"
        blocks.append(Picture(figure, PNG, alt, f"{mark} Fig. 4a. {title}".strip()))
    blocks.append(_marked(likert_table(analysis.likert), mark))
    blocks.append(_marked(agreement_table(analysis.agreement), mark))
    # What raters diagnosed before they saw an answer, beside the systems on the same cases.
    counts = score_diagnoses(evaluation.cases, evaluation.diagnoses, evaluation.responses.rows)
    if counts:
        columns = (OWN, *evaluation.scores)
        own = tuple(
            (rater, *(str(wilson(*shares[column])) for column in columns))
            for rater, shares in counts.items()
        )
        caption = (
            "Class named by each rater's own diagnosis, locked before any answer was shown, and "
            "by the systems on the same cases; raters' words are read by the same vocabulary"
        )
        blocks.append(Table(caption, ("rater", *columns), own))
    return Section(RATED, blocks)


def _marked(table: Table, mark: str) -> Table:
    """Put the mark of simulated figures before a table's caption."""
    # The table may have no caption and the mark may be empty: no blank is to be left over.
    return replace(table, caption=f"{mark} {table.caption}".strip())


def times(evaluation: Evaluation) -> Section:
    """Fig. 4b: the systems' response times, and an entered group's beside them."""
    own, entered = evaluation.own_times, evaluation.times
    groups = {**own, **entered}
    if not groups:
        return Section(TIMES, [Text("No response time was measured."), Text(NO_TIMES)])
    mark = evaluation.time_mark
    alt = f"Box plots of response times in seconds of {', '.join(groups)} {mark}"
    figure = figure_png(fig_4b(groups, "Response times", note=mark))
    blocks: list[Block] = [Text(SIMULATED_TIMES, notice=True)] if mark else []
    # The words on computing and waiting apply only where a group's waiting was entered.
    blocks += [
        Text(WHOLE_CONVERSATION),
        Text(NOTE if entered else NO_TIMES),
        Picture(figure, PNG, alt, f"{mark} Fig. 4b. Response times".strip()),
        _marked(time_table(summarise_times(groups)), mark),
    ]
    if entered:
        blocks.append(_marked(comparison_table(compare_times(entered, own)), mark))
    return Section(TIMES, [*blocks, Text(f"Published: {RESPONSE_TIME}.")])


def published(evaluation: Evaluation, analysis: Analysis) -> Section:
    """This run's shares beside those of the paper and the preprint, and the arithmetic of those."""
    blocks: list[Block] = [Text(PUBLISHED_NOTE)]
    # Kinds of raters apart: a mean over both would be the opinion of neither.
    for kind in dict.fromkeys(row.rater_kind for row in analysis.likert):
        own = [row for row in analysis.likert if row.rater_kind == kind]
        systems = list(dict.fromkeys(row.system for row in own))
        # Lay raters are asked two items only; the others show a dash.
        shares = {(row.system, row.item): str(row.agree) for row in own}
        rows = tuple(
            (
                f"{item}. {text}",
                *(f"{share} %" if share else NO_VALUE for share in published_shares(item)),
                *(shares.get((system, item), NO_VALUE) for system in systems),
            )
            for item, text in ITEMS.items()
        )
        caption = f"Agree or strongly agree: published (Fig. 4a), and here by {kind} raters"
        table = Table(caption, ("item", *SOURCES, *systems), rows)
        blocks.append(_marked(table, evaluation.rating_mark))
    # Held against the denominators of the design whether this run has ratings or not.
    entries = [(f"{one.source}, {one.place}: {one.what}", one.percent) for one in FIGURES]
    blocks += [Text(AUDIT_NOTE), audit_table(entries, list(DENOMINATORS))]
    return Section(PUBLISHED, blocks)
