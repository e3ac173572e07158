"""Documents as Markdown, pictures, PDF and pages: what the demo and the evaluation share."""

import base64
import logging
from io import BytesIO

from PIL import Image
from pypdf import PdfReader

from skingpt4.documents.document import Document, Section, Table, Text
from skingpt4.documents.images import data_url, jpeg
from skingpt4.documents.pdf import MISSING, render_pdf


def test_a_table_is_markdown_whatever_is_in_its_cells():
    table = Table("Two of two", ("a", "b|c"), (("1", "x\ny"), ("|", "")))
    lines = table.markdown().splitlines()
    assert lines[:2] == ["Two of two", ""]
    assert lines[2:] == ["| a | b\\|c |", "| --- | --- |", "| 1 | x y |", "| \\| |  |"]
    assert Table("", ("a",), ()).markdown() == "| a |\n| --- |\n"


def test_a_photo_is_encoded_small_and_without_what_came_with_it(tmp_path):
    photo = Image.new("RGB", (60, 40), "peru")
    photo.info["comment"] = b"secret"
    exif = Image.Exif()
    exif[0x010E] = "secret"
    photo.save(tmp_path / "1.jpg", exif=exif, comment="secret")
    for source in (photo, tmp_path / "1.jpg"):
        encoded = jpeg(source, side=30)
        assert b"secret" not in encoded
        assert Image.open(BytesIO(encoded)).size == (30, 20)
    assert photo.size == (60, 40)
    kind, _, content = data_url(encoded).partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(content) == encoded


def test_pdf_prints_chinese_in_tables_and_marks_what_it_cannot(caplog):
    table = Table("说明", ("项目", "note"), (("湿疹", "eczema 😀 end"), ("plain", "bold")))
    document = Document("Report", ["A notice."], [Section("One", [Text("皮肤 skin"), table])])
    with caplog.at_level(logging.WARNING, "fpdf"):
        content = render_pdf(document)
    assert not caplog.records
    text = " ".join(PdfReader(BytesIO(content)).pages[0].extract_text().split())
    for part in ("皮肤 skin", "湿疹", f"eczema {MISSING} end", "plain", "bold"):
        assert part in text
    assert text.count("A notice.") == 2
