"""The report: drafted from a conversation, edited, written as PDF, web page and JSON."""

import base64
import json
import logging
from datetime import date
from html.parser import HTMLParser
from io import BytesIO
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from skingpt4.common.errors import ChatError
from skingpt4.demo.features import patient_report
from skingpt4.demo.features.evidence import GRID, Evidence, EvidenceState, map_on, places
from skingpt4.demo.features.opinion import Opinion, OpinionState, summary_on
from skingpt4.demo.features.report_draft import (
    FIELDS,
    LONGEST_SECTION,
    SECTIONS,
    PatientReport,
    draft,
    to_html,
    to_json,
    to_pdf,
)
from skingpt4.demo.i18n import say
from skingpt4.demo.page import Page
from skingpt4.demo.session import Sessions
from skingpt4.dermatology import DISCLAIMER, QUESTIONS
from skingpt4.documents.images import data_url, jpeg
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
            "head": {},
            "model": "SkinGPT-4 0.1.0",
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
    assert sections["treatment"] == "Vitamin D creams may help."
    assert sections["more"] == "Is it contagious?\nNo, it is not."


def test_what_was_not_asked_is_said_and_not_invented():
    sections = draft([("What is it?", "A rash.")], "en")
    missing = (sections[name] for name in ("description", "causes", "treatment"))
    assert set(missing) == {"This was not asked."}
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
    counts = [("Psoriasis and lichen planus", 8), ("No condition named", 2)]
    condition = draft(TALK, "en", counts)["condition"]
    assert condition.splitlines() == [
        "This could be psoriasis.",
        "Asked again 10 times, its answers named: Psoriasis and lichen planus (8); "
        "No condition named (2).",
    ]


def test_without_an_answer_there_is_no_report():
    with pytest.raises(ChatError, match="nothing to report"):
        draft([], "en")
    with pytest.raises(ChatError, match="还没有"):
        draft([], "zh")


def test_an_endless_section_is_refused_by_name(make_report):
    with pytest.raises(ChatError, match=r"What else was asked.*8,001"):
        make_report({"more": "x" * (LONGEST_SECTION + 1)})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_treatment_stands_only_under_what_the_model_said(make_report, language):
    """It is never advice: what to do next is to see a doctor."""
    sections = draft(TALK, language)
    assert [name for name in SECTIONS if "Vitamin D" in sections[name]] == ["treatment"]
    titles = dict(make_report(sections, language=language).filled())
    title = next(title for title, runs in titles.items() if "Vitamin D" in str(runs))
    for word in {"en": ("model said", "discuss", "doctor"), "zh": ("模型", "说法", "医生")}[
        language
    ]:
        assert word in title


def test_pdf_says_everything(make_report):
    text = pdf_text(to_pdf(make_report()))
    for part in ("A look at your skin", "2026-11-21", "SkinGPT-4 0.1.0", DISCLAIMER):
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


@pytest.mark.parametrize("text", ["😀", "龘", "مرحبا", "नमस्ते", "שלום", "สวัสดี", "안녕", "頭髮"])
def test_pdf_has_no_boxes_but_says_what_it_cannot_set(make_report, text, caplog):
    report = make_report({"more": f"Before {text} after."})
    with caplog.at_level(logging.DEBUG), pytest.raises(ChatError) as refused:
        to_pdf(report)
    sentence = str(refused.value)
    assert " ".join(dict.fromkeys(text)) in sentence and "B" not in sentence
    assert say("report.save_html", "en") in sentence
    assert text[-1] not in caplog.text
    assert text in to_html(report).decode("utf-8")


@pytest.mark.parametrize("place", ["patient", "evidence"])
def test_pdf_looks_at_every_text_that_it_sets(make_report, place):
    evidence = (data_url(jpeg(Image.new("RGB", (8, 8)))), "نص") if place == "evidence" else None
    report = make_report(head={"patient": "نص" * (place == "patient")}, evidence=evidence)
    with pytest.raises(ChatError, match="ن"):
        to_pdf(report)


def test_what_has_no_form_is_left_out_and_what_can_be_composed_is(make_report):
    text = pdf_text(to_pdf(make_report({"more": "Zoe\u0308 a\u200b\x07\u00adb\u2003c\td\ufe0f!"})))
    assert "Zoë ab c d!" in text and MISSING not in text


def test_many_characters_are_not_all_listed(make_report):
    hangul = "".join(map(chr, range(0xAC00, 0xAC00 + 300)))
    with pytest.raises(ChatError) as refused:
        to_pdf(make_report({"more": hangul}))
    listed = [char for char in str(refused.value) if char in hangul]
    assert 10 < len(listed) < 30 and "…" in str(refused.value)


@pytest.mark.parametrize("before", [2, 4, 5, 10])
def test_no_line_stands_alone(make_report, before):
    """Each word tells its paragraph, so that a page's text tells how many lines of each it has."""
    lengths = {f"{name}{number}x": number for name in SECTIONS for number in (1, 40, 61, 80)}
    sections = {
        name: "\n".join(f"{word} " * n for word, n in lengths.items() if word.startswith(name))
        for name in SECTIONS
    }
    sections["description"] = "filling\n" * before + sections["description"]
    reader = PdfReader(BytesIO(to_pdf(make_report(sections, notice=""))))
    pages = [page.extract_text().splitlines() for page in reader.pages]
    titles = [say(f"report.{name}", "en") for name in SECTIONS]
    is_parted = False
    for lines in pages:
        foot = max(n for n, line in enumerate(lines) if line.startswith(DISCLAIMER[:30]))
        last = lines[foot - 1].strip()
        assert last and not any(last in title for title in titles)
    for word in lengths:
        counts = [sum(line.startswith(word) for line in lines) for lines in pages]
        if sum(counts) > 1:
            assert 1 not in counts, word
        is_parted |= sum(map(bool, counts)) > 1
    assert is_parted, "no paragraph was parted, so nothing was tried"


def test_the_head_has_what_was_written_and_lines_for_the_rest(make_report):
    def lines(report):
        page = PdfReader(BytesIO(to_pdf(report))).pages[0]
        return page.get_contents().get_data().count(b" l S")

    blank, filled = make_report(), make_report(head={"patient": "Case 7", "date": "1 May"})
    assert (lines(blank), lines(filled)) == (3, 1)
    assert "Case 7" in pdf_text(to_pdf(filled)) and "1 May" in pdf_text(to_pdf(filled))
    page = to_html(filled).decode("utf-8")
    assert ">Case 7</dd>" in page and page.count("></dd>") == 1
    head = json.loads(to_json(filled))
    assert [head[name] for name in FIELDS] == ["Case 7", "", "1 May"]
    for label in map("report.{}".format, FIELDS):
        assert say(label, "en") in pdf_text(to_pdf(blank)) and say(label, "en") in page


def test_the_notice_is_a_watermark_on_every_page(make_report):
    mark = say("report.watermark", "en")
    report = make_report({"more": "lorem " * 1200})
    pages = PdfReader(BytesIO(to_pdf(report))).pages
    assert len(pages) > 1 and all(mark in page.extract_text() for page in pages)
    assert f"<span>{mark}</span>" in to_html(report).decode("utf-8")
    real = make_report(notice="")
    assert mark not in pdf_text(to_pdf(real)) and mark not in to_html(real).decode("utf-8")


def test_map_and_bars_stand_in_every_file_on_request(make_report):
    picture = data_url(jpeg(Image.new("RGB", (30, 20), "peru")))
    extras = {"evidence": (picture, "Upper left."), "opinion": [("Melanoma", 3), ("Nevus", 2)]}
    extras["malignancy"] = "They disagree."
    report = make_report(photos=[], **extras)
    reader = PdfReader(BytesIO(to_pdf(report)))
    assert sum(len(page.images) for page in reader.pages) == 1
    page = to_html(report).decode("utf-8")
    for text in (pdf_text(to_pdf(report)), page):
        for part in (
            "Upper left.",
            "not proof of reasoning",
            "3 of 5",
            "2 of 5",
            "Melanoma",
            "They disagree.",
        ):
            assert part in text
    assert page.count(picture) == 1 and "width: 60.0%" in page
    content = json.loads(to_json(report))
    assert content["evidence"] == {"map": picture, "sentence": "Upper left."}
    assert content["opinion"][0] == {"condition": "Melanoma", "answers": 3}
    without = make_report()
    assert "3 of 5" not in pdf_text(to_pdf(without)) + to_html(without).decode("utf-8")


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


def test_each_line_of_the_web_page_tells_its_language(make_report):
    """On a Chinese page the model's own words are English."""
    report = make_report({"causes": "It is.\n原因。", "more": "سؤال"}, language="zh")
    said = [attributes for _, attributes in _Text(to_html(report)).tags if "dir" in attributes]
    assert [one["lang"] for one in said if "lang" in one] == ["en", "zh-CN", ""]


def test_json_gives_the_same_again(make_report):
    report = make_report({"more": EVIL}, colours=("peru", "navy"), language="zh")
    content = json.loads(to_json(report))
    assert content["sections"] == dict.fromkeys(SECTIONS, "") | {"more": EVIL}
    assert content["made"] == "2026-11-21" and content["date"] == ""
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
        panel = patient_report.lay_out(summary_on, map_on)
        page = Page(Sessions(make_chat()), gr.HTML(), gr.HTML(), (panel,))
    request = SimpleNamespace(session_hash="a")
    page.enter(json.dumps({"key": "k" * 22}), request)
    session = page.session(request)
    session.attach(photo_bytes).is_accepted = True
    actions = patient_report.ReportActions(panel, page)
    return SimpleNamespace(
        panel=panel, page=page, session=session, request=request, actions=actions
    )


def say_something(visitor, question="What is it?"):
    visitor.session.ask(question)
    for _ in visitor.session.answer(visitor.session.case):
        pass


@pytest.fixture
def reporter(visitor):
    """A visitor who has an answer and its report."""
    say_something(visitor)
    visitor.actions.make_report(visitor.request)
    return visitor


def shown(visitor):
    """What the page shows of the report, by the name of the entry."""
    updates = visitor.panel.show(visitor.session)
    return {name: updates[box] for name, box in visitor.panel.boxes.items()}


def make(visitor):
    """Make or update the report; return what the page shows then."""
    before = visitor.session.version
    visitor.actions.make_report(visitor.request)
    assert visitor.session.version > before, "the page would not look"
    return visitor.panel.show(visitor.session)


def decide(visitor, names, is_taken):
    before = visitor.session.version
    visitor.actions.decide(names, is_taken)(visitor.request)
    assert visitor.session.version > before, "the page would not look"
    return visitor.panel.show(visitor.session)


def write(visitor, name, value):
    return visitor.actions.keep(name)(value, visitor.request)


def save(visitor, ending, **changes):
    """Save what the page shows, with changes that it has not sent by itself; return the file."""
    values = visitor.session.case.panel_state(patient_report.ReportState).entries | changes
    edited = {box: values[name] for name, box in visitor.panel.boxes.items()}
    updates = visitor.actions.save(ending)(edited, visitor.request)
    link = next(a for tag, a in _Text(updates[visitor.panel.link].encode()).tags if tag == "a")
    kind, _, content = link["href"].partition(";base64,")
    assert kind == "data:" + patient_report.FORMATS[ending][0]
    return updates, link["download"], base64.b64decode(content)


def test_the_panel_appears_with_the_first_answer(visitor):
    panel = visitor.panel
    assert panel.show(visitor.session)[panel.box]["visible"] is False
    visitor.session.ask("What is it?")
    assert panel.show(visitor.session)[panel.box]["visible"] is False
    for _ in visitor.session.answer(visitor.session.case):
        pass
    assert panel.show(visitor.session)[panel.box]["visible"] is True
    assert panel.show(visitor.session)[panel.editor]["visible"] is False


def test_asking_too_early_is_one_sentence(visitor):
    updates = make(visitor)
    assert "nothing to report" in updates[visitor.panel.status]
    assert 'role="alert"' in updates[visitor.panel.status]
    edited = dict.fromkeys(visitor.panel.boxes.values(), "Text")
    for ending in patient_report.FORMATS:
        updates = visitor.actions.save(ending)(edited, visitor.request)
        assert "nothing to report" in updates[visitor.panel.link]


@pytest.mark.parametrize("ending", patient_report.FORMATS)
def test_what_was_edited_is_saved_without_a_file(reporter, ending, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    _, name, content = save(reporter, ending, description="My own line.", patient="Case 7")
    assert name == f"skin-report-{date.today().isoformat()}.{ending}"
    text = pdf_text(content) if ending == "pdf" else content.decode("utf-8")
    assert "My own line." in text and "word0 word1 word2" in text and "Case 7" in text
    # A sentence for people, not a weight file.
    assert ("fake" in text) == (ending == "json")
    assert not (tmp_path / "gradio").exists()
    assert shown(reporter)["description"] == "My own line."


def test_an_edit_is_kept_and_shown_again(reporter):
    """As after a reload, when the page's boxes are empty again."""
    write(reporter, "causes", "Mine.")
    write(reporter, "clinician", "Dr Li")
    write(reporter, "with_photos", False)
    entries = shown(reporter)
    assert (entries["causes"], entries["clinician"]) == ("Mine.", "Dr Li")
    assert entries["with_photos"] is False
    assert entries["patient"] == entries["date"] == ""
    updates = reporter.panel.show(reporter.session)
    assert updates[reporter.panel.editor]["visible"] is True
    assert updates[reporter.panel.make]["value"] == say("report.update", "en")


def test_a_key_press_that_comes_after_its_file_takes_the_file_away_from_nobody(reporter):
    panel = reporter.panel
    write(reporter, "causes", "Mine.")
    save(reporter, "html")
    assert write(reporter, "causes", "Mine.") == {}
    assert panel.show(reporter.session)[panel.unsaved] == ""


def test_an_edit_is_unsaved_until_a_file_is_made(reporter):
    panel = reporter.panel
    is_marked = 'id="report-unsaved" data-unsaved="true"'
    assert panel.show(reporter.session)[panel.unsaved] == ""
    assert is_marked in write(reporter, "causes", "Mine.")[panel.unsaved]
    assert is_marked in panel.show(reporter.session)[panel.unsaved]
    assert save(reporter, "html")[0][panel.unsaved] == ""
    assert panel.show(reporter.session)[panel.unsaved] == ""
    # A file that could not be written is none.
    write(reporter, "causes", "😀")
    edited = dict.fromkeys(panel.boxes.values(), "😀")
    updates = reporter.actions.save("pdf")(edited, reporter.request)
    assert "😀" in updates[panel.link] and "<a" not in updates[panel.link]
    assert is_marked in panel.show(reporter.session)[panel.unsaved]


def test_a_newer_conversation_overwrites_nothing(reporter):
    write(reporter, "more", "Mine. word0 word1 word2")
    write(reporter, "condition", "My diagnosis.")
    say_something(reporter, TREATMENT)
    before = shown(reporter)
    panel, updates = reporter.panel, make(reporter)
    assert shown(reporter) == before
    assert (
        say("report.offered", "en", count=1, most=len(SECTIONS))
        in updates[panel.all_offers.difference]
    )
    # Only where the conversation is newer; elsewhere the edit is nobody's business.
    visible = {name: updates[offer.box]["visible"] for name, offer in panel.offers.items()}
    assert [name for name in SECTIONS if visible[name]] == ["treatment"]
    assert updates[panel.all_offers.box]["visible"] is True


@pytest.mark.parametrize("is_taken", [True, False])
@pytest.mark.parametrize("names", [("treatment",), SECTIONS])
def test_a_newer_text_is_taken_or_turned_down(reporter, is_taken, names):
    write(reporter, "treatment", "Mine.")
    say_something(reporter, TREATMENT)
    make(reporter)
    panel, updates = reporter.panel, decide(reporter, names, is_taken)
    key = "report.taken" if is_taken else "report.kept"
    title = say("report.treatment", "en")
    assert say(key, "en", sections=title) in updates[panel.status]
    assert updates[panel.boxes["treatment"]] == ("word0 word1 word2 " if is_taken else "Mine.")
    assert updates[panel.offers["treatment"].box]["visible"] is False
    assert updates[panel.all_offers.box]["visible"] is False
    # It is not offered a second time.
    updates = make(reporter)
    assert say("report.nothing_new", "en") in updates[panel.status]


def test_what_is_decided_one_by_one_leaves_the_others_open(reporter):
    say_something(reporter, TREATMENT)
    say_something(reporter, CAUSES)
    make(reporter)
    updates = decide(reporter, ("causes",), True)
    assert updates[reporter.panel.offers["treatment"].box]["visible"] is True
    assert updates[reporter.panel.boxes["treatment"]] == say("report.not_asked", "en")
    # A second press of the same button, from a slow connection, does nothing.
    updates = decide(reporter, ("causes",), False)
    assert (
        say("report.taken", "en", sections=say("report.causes", "en"))
        in (updates[reporter.panel.status])
    )


def test_a_difference_is_told_in_words_and_marks(reporter):
    state = reporter.session.case.panel_state(patient_report.ReportState)
    state.entries["causes"] = "It stays. It goes <now>.\n它留下。它走。"
    state.offered["causes"] = "It stays. It comes.\n它留下。它来。"
    page = _Text(patient_report.difference("causes", reporter.session).encode())
    assert say("report.causes", "en") in page.text
    marked = [(tag, attributes.get("class")) for tag, attributes in page.tags]
    assert marked.count(("li", None)) == marked.count(("del", None)) == 2
    assert marked.count(("li", "removed")) == marked.count(("li", "added")) == 2
    assert "Removed: It goes <now>.Added: It comes." in page.text
    assert "Removed: 它走。Added: 它来。" in page.text
    assert patient_report.difference("more", reporter.session) == ""


def test_map_and_bars_are_offered_only_when_there_are_any(reporter):
    case = reporter.session.case

    def offered():
        updates = reporter.panel.show(reporter.session)
        extras = reporter.panel.extras.items()
        return [name for name, part in extras if updates.get(part, {"visible": True})["visible"]]

    assert offered() == ["with_photos"]
    picture = data_url(jpeg(Image.new("RGB", (30, 20), "peru")))
    state = case.panel_state(EvidenceState)
    weights = np.zeros((GRID, GRID))
    weights[0, 0] = 1
    state.overlay, state.evidence = picture, Evidence(weights, weights, len(places()))
    assert offered() == ["with_photos"]  # it is of no answer that there still is
    state.exchange = case.exchanges[0]
    state = case.panel_state(OpinionState)
    state.opinion, state.photos = Opinion(2, 0, {0: "This is psoriasis.", 1: "A rash."}), 1
    assert offered() == ["with_photos", "with_evidence", "with_opinion"]
    assert shown(reporter)["with_evidence"] is shown(reporter)["with_opinion"] is False
    plain = json.loads(save(reporter, "json")[2])
    assert len(plain["photos"]) == 1 and not plain["evidence"] and plain["opinion"] == []
    chosen = {"with_photos": False, "with_evidence": True, "with_opinion": True}
    content = json.loads(save(reporter, "json", **chosen)[2])
    assert content["photos"] == [] and content["evidence"]["map"] == picture
    assert say("evidence.place_0_0", "en") in content["evidence"]["sentence"]
    assert case.exchanges[0].question in content["evidence"]["sentence"]
    assert sum(one["answers"] for one in content["opinion"]) == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_melanoma_and_a_mole_are_never_one_condition(reporter, language):
    case, reporter.session.language = reporter.session.case, language
    state = case.panel_state(OpinionState)
    answers = {0: "This is melanoma.", 1: "This is a melanocytic nevus.", 2: "It is a melanoma."}
    state.opinion, state.photos = Opinion(3, 0, answers), 1
    updates = make(reporter)
    assert updates[reporter.panel.offers["condition"].box]["visible"] is True
    condition = decide(reporter, ("condition",), True)[reporter.panel.boxes["condition"]]
    names = {
        "en": ("melanoma (2)", "melanocytic nevus (1)"),
        "zh": ("黑色素瘤 (2)", "黑素细胞痣 (1)"),
    }
    for name in names[language]:
        assert name in condition
    disputed = say("opinion.disputed", language, done=3, kinds="…").partition("…")[0]
    assert disputed in condition
    content = json.loads(save(reporter, "json", with_opinion=True)[2])
    assert [one["answers"] for one in content["opinion"]] == [2, 1]
    assert disputed in content["malignancy"]


def test_a_new_conversation_takes_the_report_away_and_undo_brings_it_back(reporter):
    write(reporter, "patient", "Anna")
    reporter.session.begin_again()
    panel, updates = reporter.panel, reporter.panel.show(reporter.session)
    assert all(updates[panel.boxes[name]] == "" for name in (*FIELDS, *SECTIONS))
    assert updates[panel.editor]["visible"] is False
    assert updates[panel.link] == updates[panel.unsaved] == ""
    # A last key press that comes late is not the next patient's.
    assert write(reporter, "patient", "Anna B") == {}
    assert shown(reporter)["patient"] == ""
    reporter.session.undo()
    assert shown(reporter)["patient"] == "Anna"


def test_what_is_being_written_is_not_sent_back(reporter):
    """It would overwrite the keys that were pressed meanwhile; a reloaded page is sent all."""
    page, box = reporter.page, reporter.panel.boxes["causes"]

    def news(request=reporter.request):
        view = page.sessions.views[request.session_hash]
        return page.refresh(str(view.version), request)

    news()
    write(reporter, "causes", "Mi")
    reporter.session.changed()
    assert box not in news()
    # An answer was lost or overtaken, so everything is sent again.
    assert reporter.panel.make in page.refresh("", reporter.request)
    assert box not in page.refresh("", reporter.request)
    reloaded = SimpleNamespace(session_hash="b")
    assert page.enter(json.dumps({"key": "k" * 22}), reloaded)[box] == "Mi"
    # What the server itself changes is sent.
    say_something(reporter, CAUSES)
    make(reporter)
    decide(reporter, ("causes",), True)
    assert news()[box] == "word0 word1 word2 "
