"""The report of one evaluation folder: self-contained HTML, and the same as PDF."""

from pathlib import Path
from typing import cast

from skingpt4.common.files import write_atomically
from skingpt4.documents.document import Document, Section, Table, Text
from skingpt4.documents.html import render_html
from skingpt4.documents.pdf import render_pdf
from skingpt4.evaluation.report.guidelines import GUIDELINES, LIMITS, Fact, answer
from skingpt4.evaluation.report.inputs import Evaluation, load_evaluation
from skingpt4.evaluation.report.rating_sections import (
    analyse_ratings,
    case_pages,
    published,
    reader_study,
    times,
)
from skingpt4.evaluation.report.score_sections import accuracy, consistency, methods, subgroups

TITLE = "SkinGPT-4: the 150-case evaluation"

HTML_NAME, PDF_NAME = "report.html", "report.pdf"

LIMIT_SENTENCES = (
    "A system under test is for research; nothing here shows that it is safe or useful in care.",
    "Automatic scores read words: a right word in a wrong sentence counts, and a right sentence in "
    "unforeseen words does not.",
    "The 15 classes are broad, one disease is assumed for each photo, and severity is not rated.",
    "Drawn cases tell how well drawings can be told apart, and nothing about real skin. Real "
    "photos vary in light, angle and resolution, and dark skin is rare in most collections.",
)


def write_report(folder: Path, case_list: Path | None = None) -> list[Path]:
    """Write ``report.html`` and ``report.pdf`` from the other files of an evaluation folder.

    The same files give the same bytes.

    Args:
        folder: Holds responses.jsonl and, as far as made, ratings.csv, diagnoses.csv, times.csv,
            concepts.jsonl, consistency.jsonl and cases_checked.json.
        case_list: By default cases.csv in the folder.

    Returns:
        The paths written.

    Raises:
        UserError: If a file is missing or belongs to another case list.
    """
    document = build_document(load_evaluation(folder, case_list))
    html, pdf = render_html(document), render_pdf(document)
    paths = [folder / HTML_NAME, folder / PDF_NAME]
    write_atomically(paths[0], lambda file: cast(None, file.write_text(html, encoding="utf-8")))
    write_atomically(paths[1], lambda file: cast(None, file.write_bytes(pdf)))
    return paths


def build_document(evaluation: Evaluation) -> Document:
    """Put the report together, from summary to case pages."""
    analysis = analyse_ratings(evaluation)
    sections = [
        accuracy(evaluation),
        subgroups(evaluation),
        reader_study(evaluation, analysis),
        times(evaluation),
        consistency(evaluation),
        published(evaluation, analysis),
        methods(evaluation),
        Section(LIMITS, [Text(sentence) for sentence in LIMIT_SENTENCES]),
        guidelines(evaluation.facts),
        *case_pages(evaluation),
    ]
    return Document(TITLE, evaluation.notices, sections)


def guidelines(facts: frozenset[Fact]) -> Section:
    """Which items of the reporting guidelines this run answers, and why not the others."""
    tables = []
    for guideline in GUIDELINES:
        verdicts = [(item, *answer(item, facts)) for item in guideline.items]
        count = sum(answered for _, answered, _ in verdicts)
        rows = tuple(
            (item.number, item.asks, "yes" if answered else "no", reason)
            for item, answered, reason in verdicts
        )
        caption = f"{guideline.name}: {count} of {len(rows)} items answered by this run"
        head = ("item", "asks for", "answered", "where, or why not")
        tables.append(Table(caption, head, rows, numbers=False))
    note = "The wording is ours; consult the originals. What only authors know, no kit can answer."
    return Section("Reporting guidelines", [Text(note), *tables])
