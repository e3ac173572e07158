"""The report's sections on what was done and on the automatic scores."""

from collections.abc import Mapping, Sequence

import numpy as np

from skingpt4.dermatology import CLASS_NAMES, QUESTIONS
from skingpt4.documents.document import Block, Picture, Section, Table, Text
from skingpt4.documents.images import PNG, figure_png
from skingpt4.evaluation.cases import case_list_hash, class_balance
from skingpt4.evaluation.report.figures import confusion_figure, fig_4c
from skingpt4.evaluation.report.guidelines import ACCURACY, METHODS, REPEATED, SKIN
from skingpt4.evaluation.report.inputs import Evaluation
from skingpt4.evaluation.report.tables import interval_text, paired_table
from skingpt4.evaluation.scoring.accuracy import ConceptScore, Count, SystemScore, f1_difference
from skingpt4.evaluation.scoring.comparisons import compare_systems
from skingpt4.evaluation.scoring.statistics import Interval, wilson

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


def methods(evaluation: Evaluation) -> Section:
    """What was done: questions, cases, systems, machine."""
    cases = evaluation.cases
    questions = tuple((str(n), text) for n, text in enumerate(QUESTIONS, start=1))
    blocks: list[Block] = [
        *map(Text, HOW),
        Table("The four questions (paper)", ("number", "question"), questions, numbers=False),
        Text(_cases_sentence(evaluation)),
        Text(_audit_sentence(evaluation)),
        Table(
            f"Cases of each class, of {len(cases)}",
            ("class", "cases"),
            tuple((name, str(count)) for name, count in class_balance(cases).items()),
        ),
        *_system_tables(evaluation),
    ]
    return Section(METHODS, blocks)


def _cases_sentence(evaluation: Evaluation) -> str:
    sources = sorted({case.source or "not stated" for case in evaluation.cases})
    return (
        f"{len(evaluation.cases)} cases (source: {', '.join(sources)}); the list's sha256 is "
        f"{case_list_hash(evaluation.cases)}."
    )


def _audit_sentence(evaluation: Evaluation) -> str:
    audit = evaluation.audit
    if audit is None:
        return "The photos were not compared with a training set."
    found = f"cases {', '.join(audit.leaks)} look alike" if audit.leaks else "none look alike"
    return (
        f"The photos were compared with {audit.training_images} training photos by sha256 and "
        f"perceptual hash: {found}."
    )


def _system_tables(evaluation: Evaluation) -> list[Table]:
    """What it takes to repeat each system's answers, and where they were made."""
    header = evaluation.responses.header
    systems = {name: _flat(record) for name, record in header.get("systems", {}).items()}
    keys = list(dict.fromkeys(key for record in systems.values() for key in record))
    rows = tuple((key, *(record.get(key, "–") for record in systems.values())) for key in keys)
    tables = [Table("The systems", ("setting", *systems), rows, numbers=False)] if systems else []
    for number, record in enumerate(header.get("environments", []), start=1):
        pairs = tuple(_flat(record).items())
        tables.append(
            Table(f"Machine and versions {number}", ("setting", "value"), pairs, numbers=False)
        )
    return tables


def _flat(record: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Write a nested record as dotted names and texts; hashes are cut to 12 characters."""
    flat: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            text = str(value)
            flat[prefix + key] = text[:12] if len(text) == 64 and text.isalnum() else text
    return flat


def accuracy(evaluation: Evaluation) -> Section:
    """What the automatic scores amount to, overall and by class."""
    scores = evaluation.scores
    rows = tuple(_score_row(name, one) for name, one in scores.items())
    told = tuple((name, *_concept_cells(one.concepts)) for name, one in scores.items())
    pairs = compare_systems(evaluation.cases, evaluation.responses.rows)
    blocks: list[Block] = [
        Table("Each system's answers, k/n with 95 % intervals", SCORE_HEAD, rows),
        *([paired_table(pairs)] if pairs else []),
        Table("Concepts named in the first two answers", CONCEPT_HEAD, told),
        *_asked_concepts(evaluation.asked_concepts),
        _group_table("Class named, by class", {name: s.per_class for name, s in scores.items()}),
        *(_confusion(name, one) for name, one in scores.items()),
    ]
    return Section(ACCURACY, blocks)


def _score_row(name: str, one: SystemScore) -> tuple[str, ...]:
    return (
        name,
        str(wilson(one.hits, one.n)),
        str(wilson(one.mentioned_hits, one.n)),
        str(wilson(*one.missed_malignancy)),
        f"{one.all_different}/{one.n}",
        f"{one.abstained}/{one.n}",
        f"{one.failed}/{one.n}",
    )


def _asked_concepts(scores: Mapping[str, ConceptScore]) -> list[Table]:
    """Concepts named when asked for them, and by how much the first system is ahead."""
    if not scores:
        return []
    first = next(iter(scores.values()))
    ahead = {name: interval_text(f1_difference(first, one)) for name, one in scores.items()}
    rows = tuple(
        (name, *_concept_cells(one), "–" if one is first else ahead[name])
        for name, one in scores.items()
    )
    caption = "Concepts named when asked for them, in a conversation of its own (step 1's question)"
    return [Table(caption, (*CONCEPT_HEAD, "the first system's F1 is larger by"), rows)]


def _concept_cells(one: ConceptScore) -> tuple[str, ...]:
    """Precision, recall and F1, the last with its bootstrap interval over cases."""
    return (
        interval_text(Interval(one.precision, np.nan, np.nan)),
        interval_text(Interval(one.recall, np.nan, np.nan)),
        interval_text(Interval(one.f1, one.low, one.high)),
    )


def consistency(evaluation: Evaluation) -> Section:
    """Fig. 4c: how alike repeated diagnoses of the same image are."""
    if not evaluation.consistency:
        return Section(REPEATED, [Text("No repeated diagnoses were drawn.")])
    shares = {
        name: [image.counts[0] / len(image.tops) for image in one.images]
        for name, one in evaluation.consistency.items()
    }
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
    figure = figure_png(fig_4c(shares, "Repeated diagnoses of the same image"))
    alt = "For each image, the share of its diagnoses that are the commonest one"
    return Section(
        REPEATED,
        [
            Text(CONSISTENCY_NOTE),
            Picture(figure, PNG, alt, "Fig. 4c. Each point is an image."),
            Table("Shares of repeated diagnoses; 95 % intervals clustered by image", head, rows),
        ],
    )


def subgroups(evaluation: Evaluation) -> Section:
    """The share of cases named by skin type and by photo quality."""
    scores = evaluation.scores
    return Section(
        SKIN,
        [
            Text("Differences between groups of this size are rarely more than chance."),
            _group_table(
                "Class named, by Fitzpatrick type",
                {name: one.per_skin_type for name, one in scores.items()},
            ),
            _group_table(
                "Class named, by photo quality (thresholds are ours)",
                {name: one.per_quality for name, one in scores.items()},
            ),
        ],
    )


def _group_table(caption: str, groups: Mapping[str, Mapping[str, Count]]) -> Table:
    """Rows are groups, columns systems."""
    names: Sequence[str] = list(dict.fromkeys(group for one in groups.values() for group in one))
    rows = tuple(
        (name, *(str(wilson(*one.get(name, (0, 0)))) for one in groups.values())) for name in names
    )
    return Table(caption, ("group", *groups), rows)


def _confusion(name: str, one: SystemScore) -> Picture:
    figure = confusion_figure(one.confusion, CLASS_NAMES, name)
    alt = f"Confusion matrix of {name}: {one.hits} of {one.n} cases on the diagonal"
    return Picture(figure_png(figure), PNG, alt)
