"""The report of one evaluation folder: self-contained HTML, and the same as PDF."""

from pathlib import Path

from skingpt4.common.files import write_atomically, write_text
from skingpt4.documents.document import (
    Block,
    Document,
    Picture,
    Section,
    Table,
    Text,
    fill_template,
)
from skingpt4.documents.images import JPEG
from skingpt4.documents.pdf import render_pdf
from skingpt4.evaluation.report import sections
from skingpt4.evaluation.report.inputs import Evaluation
from skingpt4.evaluation.report.reference import CASES, GUIDELINES, LIMITS, Fact
from skingpt4.evaluation.report.result_tables import NO_VALUE
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.accuracy import read_response
from skingpt4.evaluation.study.ratings import ITEMS, Rating

TITLE = "SkinGPT-4: the 150-case evaluation"

HTML_NAME, PDF_NAME = "report.html", "report.pdf"

# Said in every report, whatever it holds.
LIMIT_SENTENCES = (
    "A system under test is for research; nothing here shows that it is safe or useful in care.",
    "Automatic scores read words: a right word in a wrong sentence counts, and a right sentence in "
    "unforeseen words does not.",
    "The 15 classes are broad, one disease is assumed for each photo, and severity is not rated.",
    "Drawn cases tell how well drawings can be told apart, and nothing about real skin. Real "
    "photos vary in light, angle and resolution, and dark skin is rare in most collections.",
)

# Short for the paper's four questions, in order.
QUESTION_NAMES = ("Description", "Further features", "Cause", "Treatment")


def write_report(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write ``report.html`` and ``report.pdf``; the same evaluation gives the same bytes.

    Args:
        evaluation: What the report is about.
        folder: Where.

    Returns:
        The paths written.
    """
    document = build_document(evaluation)
    # Both are drawn before either is written: a failure leaves the old pair as it was.
    html = fill_template("report.html", document=document)
    pdf = render_pdf(document)
    write_text(folder / HTML_NAME, html)
    write_atomically(folder / PDF_NAME, lambda file: file.write_bytes(pdf))
    return [folder / HTML_NAME, folder / PDF_NAME]


def build_document(evaluation: Evaluation) -> Document:
    """Put the report together, from summary to case pages."""
    analysis = sections.sorted_analysis(evaluation)
    # Results before methods: they are what most readers open a report for.
    parts = [
        sections.accuracy(evaluation),
        sections.subgroups(evaluation),
        sections.reader_study(evaluation, analysis),
        sections.times(evaluation),
        sections.consistency(evaluation),
        sections.published(evaluation, analysis),
        sections.methods(evaluation),
        Section(LIMITS, [Text(sentence) for sentence in LIMIT_SENTENCES]),
        guidelines(evaluation.facts),
        *case_pages(evaluation),
    ]
    return Document(TITLE, evaluation.notices, parts)


def guidelines(facts: frozenset[Fact]) -> Section:
    """Which items of the reporting guidelines this run answers, and why not the others."""
    head = ("item", "asks for", "answered", "where, or why not")
    note = "The wording is ours; consult the originals. What only authors know, no kit can answer."
    blocks: list[Block] = [Text(note)]
    # Every item is listed with its reason: a checklist of what is met hides what is not.
    for name, items in GUIDELINES.items():
        verdicts = [item.answer(facts) for item in items]
        rows = tuple(
            (item.number, item.asks, "yes" if answered else "no", reason)
            for item, (answered, reason) in zip(items, verdicts, strict=True)
        )
        count = sum(answered for answered, _ in verdicts)
        caption = f"{name}: {count} of {len(rows)} items answered by this run"
        blocks.append(Table(caption, head, rows, numbers=False))
    return Section("Reporting guidelines", blocks)


def case_pages(evaluation: Evaluation) -> list[Section]:
    """One section for each case, each on a page of its own when printed."""
    answers: dict[str, list[Response]] = {}
    for row in evaluation.responses.rows:
        answers.setdefault(row.case, []).append(row)
    ratings: dict[str, list[Rating]] = {}
    for rating in evaluation.ratings:
        # Ratings of no case (items 6 and 7) end up under "", which is no case's id.
        ratings.setdefault(rating.case, []).append(rating)
    # A case stands in the report even if no system answered it: gaps must show.
    pages = [Section(CASES, [Text("Each case on a page of its own.")], new_page=True)]
    for case in evaluation.cases:
        photo: Block = Picture(case.photo.jpeg, JPEG, f"The photo of case {case.id}", small=True)
        # The reason stands where the photo would, which is where a reader misses it.
        if case.photo.fault:
            photo = Text(case.photo.fault, notice=True)
        facts = {
            "class": case.disease_class,
            "disease": case.label,
            "concepts": ", ".join(case.concepts),
            "skin type": case.fitzpatrick,
            "source": case.source,
        }
        # What the list does not state is left out rather than shown as unknown.
        known = "; ".join(f"{name}: {value}" for name, value in facts.items() if value)
        blocks: list[Block] = [photo, Text(known), _answers(case.id, answers.get(case.id, []))]
        if case.id in ratings:
            blocks.append(_ratings(evaluation, ratings[case.id]))
        pages.append(Section(f"Case {case.id}", blocks, level=2, new_page=True))
    return pages


def _answers(case: str, responses: list[Response]) -> Block:
    """Every system's answers side by side, and the class that the first was read as."""
    if not responses:
        return Text("No system has answered.")
    rows = []
    for place, name in enumerate(QUESTION_NAMES):
        cells = []
        for row in responses:
            # Why it failed stands in each empty cell, for a case's answers fail together.
            failed = f"failed: {row.error}" if row.error else NO_VALUE
            cells.append(row.answers[place].text if place < len(row.answers) else failed)
        rows.append((name, *cells))
    read_as = []
    for row in responses:
        diagnosis, _ = read_response(row)
        # To decline is not to miss: it may well be the safer answer.
        if diagnosis.top is None:
            none = "declines to name a disease" if diagnosis.abstained else "names no class"
            read_as.append(none)
            continue
        # The words behind it let a reader judge the labeler, too.
        words = dict.fromkeys(
            match.words
            for match in diagnosis.trace
            if match.kind == "class" and match.name == diagnosis.top and not match.negated
        )
        read_as.append(f"{diagnosis.top} (from “{'”, “'.join(words)}”)")
    rows.append(("Read as", *read_as))
    head = ("asked for", *(row.system for row in responses))
    return Table(f"Answers to case {case}", head, tuple(rows), numbers=False)


def _ratings(evaluation: Evaluation, ratings: list[Rating]) -> Table:
    """Every rater's score of each item, a row for each system; raters stand in one order."""
    scores = {(one.rater, one.system, one.item): str(one.score) for one in ratings}
    # Sorted, so that a rater's scores stand in the same place of every cell.
    raters = list(dict.fromkeys(one.rater for one in sorted(ratings)))
    rows = []
    for system in (*evaluation.scores, ""):  # items 6 and 7 may be asked of no system
        if any(one.system == system for one in ratings):
            cells = [
                " ".join(scores.get((name, system, item), NO_VALUE) for name in raters)
                for item in ITEMS
            ]
            rows.append((system or NO_VALUE, *cells))
    by = ", ".join(raters)
    # Where people rated there is no mark, and strip() takes its blank away.
    caption = f"{evaluation.rating_mark} Ratings of each item, 1 to 5, by {by}".strip()
    return Table(caption, ("system", *(f"item {item}" for item in ITEMS)), tuple(rows))
