"""The report: drafted from a conversation, edited, written as PDF, web page and JSON."""

import base64
import json
import logging
from datetime import date
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image
from pypdf import PdfReader

from skingpt4.common.environment import model_name
from skingpt4.common.errors import ChatError
from skingpt4.common.schema import ModelConfig
from skingpt4.demo.features import patient_report
from skingpt4.demo.features.opinion import counts_on
from skingpt4.demo.features.report_draft import (
    LONGEST_SECTION,
    SECTIONS,
    PatientReport,
    draft,
    to_html,
    to_json,
    to_pdf,
)
from skingpt4.demo.page import Page
from skingpt4.demo.session import Sessions
from skingpt4.dermatology import DISCLAIMER, QUESTIONS
from skingpt4.documents.pdf import MISSING

DESCRIBED, FEATURES, CAUSES, TREATMENT = QUESTIONS
TALK = [
    (DESCRIBED, "There is a rash. This could be psoriasis."),
    (FEATURES, "I also observe scale."),
    (CAUSES, "It is an immune disease."),
    (TREATMENT, "Vitamin D creams may help."),
    ("Is it contagious?", "No, it is not."),
]
DAY = date(2026, 11, 21)
EVIL = '<script>alert(1)</script> & "quotes" {{ 7 * 7 }}'


@pytest.fixture
def make_report():
    def make(sections=None, colours=("peru",), **changes):
        given = {
            "sections": draft(TALK, "en") if sections is None else sections,
            "photos": [Image.new("RGB", (60, 40), colour) for colour in colours],
            "model": "SkinGPT-4 0.1.0, fake",
            "notice": "Drawn <images> only.",
            "language": "en",
            "day": DAY,
        }
        return PatientReport(**given | changes)

    return make


def pdf_text(content):
    return " ".join(
        " ".join(page.extract_text() for page in PdfReader(BytesIO(content)).pages).split()
    )


class _Text(HTMLParser):
    """Collects a page's tags and text."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(content.decode("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_four_questions_fill_the_sections_they_ask_for():
    sections = draft(TALK, "en")
    assert tuple(sections) == SECTIONS
    assert (
        sections["description"]
        == "There is a rash. This could be psoriasis.\nI also observe scale."
    )
    assert sections["condition"] == "This could be psoriasis."
    assert sections["causes"] == "It is an immune disease."
    assert sections["next_steps"].startswith(
        "Vitamin D creams may help.\nShow this to a dermatologist"
    )
    assert sections["more"] == "Is it contagious?\nNo, it is not."


def test_what_was_not_asked_is_said_and_not_invented():
    sections = draft([("What is it?", "A rash.")], "en")
    assert sections["description"] == sections["causes"] == "This was not asked."
    assert sections["condition"] == "The answers name no disease."
    assert "dermatologist" in sections["next_steps"]
    assert "breathe" in sections["red_flags"]


def test_a_disease_that_an_answer_denies_is_not_the_condition():
    denied = [("What is it?", "A rash. This is not melanoma.")]
    assert draft(denied, "en")["condition"] == "The answers name no disease."
    named = [*denied, ("What else?", "It is no acne. It is psoriasis.")]
    assert draft(named, "en")["condition"] == "It is psoriasis."


def test_of_a_question_asked_twice_the_last_answer_counts():
    assert draft([*TALK, (CAUSES, "Nobody knows.")], "en")["causes"] == "Nobody knows."


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("This is not melanoma.", "The answers name no disease."),
        ("This is not melanoma. It looks like psoriasis.", "It looks like psoriasis."),
        (
            "A rash. No sign of acne! It could be eczema or psoriasis.",
            "It could be eczema or psoriasis.",
        ),
    ],
)
def test_a_disease_that_is_denied_is_not_named(answer, named):
    assert draft([(DESCRIBED, answer)], "en")["condition"] == named


def test_a_second_opinion_is_counted_in_the_report():
    counts = [("Psoriasis and lichen planus", 8), (None, 2)]
    condition = draft(TALK, "en", counts)["condition"]
    assert condition.splitlines() == [
        "This could be psoriasis.",
        "Asked 10 times anew, its answers named: Psoriasis and lichen planus (8); "
        "No condition named (2).",
    ]


def test_without_an_answer_there_is_no_report():
    with pytest.raises(ChatError, match="nothing to report"):
        draft([], "en")
    with pytest.raises(ChatError, match="还没有"):
        draft([], "zh")


def test_an_endless_section_is_refused_by_name(make_report):
    with pytest.raises(ChatError, match=r"Also asked.*8,001"):
        make_report({"more": "x" * (LONGEST_SECTION + 1)})


def test_the_model_is_named_without_its_place_on_this_machine():
    config = ModelConfig(llm_model="/data/secret/llama-2", ckpt="/home/anna/step2.safetensors")
    assert model_name(config).endswith(", llama-2, step2.safetensors")
    assert "secret" not in model_name(config) and "anna" not in model_name(config)


def test_pdf_says_everything(make_report):
    text = pdf_text(to_pdf(make_report()))
    for part in ("A look at your skin", "2026-11-21", "SkinGPT-4 0.1.0, fake", DISCLAIMER):
        assert part in text
    for question, answer in TALK:
        assert answer in text
        assert question in text or question in QUESTIONS
    assert "Drawn <images> only." in text
    assert "• your face, lips or tongue swell" in text


def test_pdf_is_for_reading_aloud_too(make_report):
    reader = PdfReader(BytesIO(to_pdf(make_report(colours=("peru", "navy")))))
    assert reader.metadata.title == "A look at your skin"
    assert reader.trailer["/Root"]["/Lang"] == "en"
    assert [entry.title for entry in reader.outline][:2] == [
        "What the photo shows",
        "What it could be",
    ]
    assert sum(len(page.images) for page in reader.pages) == 2


def test_chinese_pdf_has_its_characters_also_beside_english(make_report, caplog):
    report = make_report(
        draft([("会传染吗?", "No. 不会。")], "zh"), language="zh", notice="English."
    )
    with caplog.at_level(logging.WARNING):
        text = pdf_text(to_pdf(report))
    for part in (
        "皮肤情况报告",
        "会传染吗",
        "No. 不会。",
        "English.",
        "可以问医生的问题",
        "呼吸困难",
    ):
        assert part in text
    assert MISSING not in text
    assert caplog.records == []


def test_what_no_font_has_is_marked_and_not_logged(make_report, caplog):
    with caplog.at_level(logging.DEBUG):
        text = pdf_text(to_pdf(make_report({"more": "smile 😀 龘\u200b\x07 end"})))
    assert f"smile {MISSING} {MISSING} end" in text
    assert "😀" not in caplog.text and "missing" not in caplog.text


def test_long_texts_and_many_photos_take_more_pages(make_report):
    content = to_pdf(make_report({"more": "lorem " * 1200}, colours=["peru"] * 6))
    reader = PdfReader(BytesIO(content))
    assert len(reader.pages) == 3
    assert all(DISCLAIMER[:40] in page.extract_text() for page in reader.pages)
    assert pdf_text(content).count("lorem") == 1200


def test_the_same_report_gives_the_same_pdf(make_report):
    assert to_pdf(make_report()) == to_pdf(make_report())


def test_web_page_is_whole_safe_and_printable(make_report):
    page = _Text(
        to_html(
            make_report({"more": EVIL, "red_flags": "- one\n- two\nend"}, colours=("peru", "navy"))
        )
    )
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and "link" not in tags
    assert EVIL in page.text
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Photo 1", "Photo 2"]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    assert "@media print" in page.text and "@page" in page.text
    assert tags.count("li") == 2
    assert DISCLAIMER in page.text
    assert ("html", {"lang": "en"}) in page.tags


def test_json_gives_the_same_again(make_report):
    report = make_report({"more": EVIL}, colours=("peru", "navy"), language="zh")
    content = json.loads(to_json(report))
    assert content["sections"] == dict.fromkeys(SECTIONS, "") | {"more": EVIL}
    assert content["date"] == "2026-11-21"
    assert content["language"] == "zh"
    assert len(content["photos"]) == 2


def test_photos_bring_no_metadata_along(make_report):
    photo = Image.new("RGB", (40, 30), "peru")
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    photo.info["exif"] = exif.tobytes()
    ((_, file),) = make_report(photos=[photo]).photo_files()
    assert file.startswith(b"\xff\xd8") and b"secret place" not in file


@pytest.fixture
def visitor(make_chat, photo_bytes):
    """A tab with a photo, the report's panel and its actions."""
    with gr.Blocks():
        panel = patient_report.lay_out()
        page = Page(Sessions(make_chat()), gr.HTML(), (panel,))
    request = SimpleNamespace(session_hash="a", headers={})
    session = page.session(request)
    session.add_photo(photo_bytes)
    actions = patient_report.ReportActions(panel, page, counts_on)
    return SimpleNamespace(
        panel=panel, page=page, session=session, request=request, actions=actions
    )


def say_something(visitor):
    visitor.session.ask("What is it?")
    for _ in visitor.session.answer(visitor.session.case):
        pass


def test_the_button_waits_for_an_answer(visitor):
    panel = visitor.panel
    assert panel.show(visitor.session)[panel.make]["interactive"] is False
    say_something(visitor)
    assert panel.show(visitor.session)[panel.make]["interactive"] is True


def test_asking_too_early_is_one_sentence(visitor):
    updates = visitor.actions.make_report(visitor.request)
    assert "nothing to report" in updates[visitor.panel.status]
    assert 'role="alert"' in updates[visitor.panel.status]


@pytest.mark.parametrize("ending", patient_report.FORMATS)
def test_what_was_edited_is_saved_without_a_file(visitor, ending, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    say_something(visitor)
    panel = visitor.panel
    drafted = visitor.actions.make_report(visitor.request)
    edited = {box: drafted[box] for box in panel.sections} | {panel.sections[0]: "My own line."}
    updates = visitor.actions.save(ending)(edited, visitor.request)
    link = _Text(updates[panel.link].encode()).tags[0][1]
    assert link["download"] == f"skin-report-{date.today().isoformat()}.{ending}"
    kind, _, content = link["href"].partition(";base64,")
    assert kind == "data:" + patient_report.FORMATS[ending][0]
    content = base64.b64decode(content)
    text = pdf_text(content) if ending == "pdf" else content.decode("utf-8")
    assert "My own line." in text and "word0 word1 word2" in text
    assert not (tmp_path / "gradio").exists()


def test_restart_takes_the_report_away_and_editing_stays_until_then(visitor):
    say_something(visitor)
    visitor.actions.make_report(visitor.request)
    panel = visitor.panel
    assert panel.sections[0] not in panel.show(visitor.session)
    visitor.session.restart()
    updates = panel.show(visitor.session)
    assert all(updates[box] == "" for box in panel.sections)
    assert updates[panel.editor]["visible"] is False
    assert updates[panel.link] == ""
