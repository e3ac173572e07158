"""The scripts in ``dataset/``, from the command line, on real tables and photos where they are."""

import json
import re
import sys

import pytest
from PIL import Image

from skingpt4.convert.sources import SOURCES
from tests.conftest import PROJECT, TEST_DATA
from tests.scripts import load_script, run_here

REAL = pytest.mark.skipif(
    not (TEST_DATA / "labelled_15class.csv").is_file(),
    reason="no real photos here; see CONTRIBUTING.md",
)


@pytest.fixture
def script(capsys):
    """Run a script; return its exit code and both outputs."""
    return lambda name, *arguments: (
        run_here(f"dataset/{name}", *arguments),
        *capsys.readouterr(),
    )


def captions(folder):
    rows = json.loads((folder / "filter_cap.json").read_text("utf-8"))["annotations"]
    return {row["caption"] for row in rows}


@REAL
def test_real_tables_and_photos_become_sets_that_do_not_leak(script, tmp_path):
    pad, own = tmp_path / "pad", tmp_path / "own"
    table = TEST_DATA / "annotations" / "pad_ufes_20" / "metadata.csv"
    photos = TEST_DATA / "images" / "pad_ufes_20_cc-by-4.0"
    code, shown, told = script("convert.py", "pad_ufes_20", "--table", table, "--images", photos,
                               "--val-share", "0.2", "--output", pad)  # fmt: skip
    assert code == 0, told
    assert "26 photos with 26 texts; 2272 records left out" in shown
    assert "This could be a skin disease image of basal cell carcinoma." in captions(pad / "train")
    assert not any("PAT" in path.name for path in pad.rglob("*"))
    cases = TEST_DATA / "labelled_15class.csv"
    columns = ("image=path", "label=label_original", "class=class_15")
    _, shown, _ = script("convert.py", "csv", "--table", cases, "--columns", *columns,
                         "--exclude", pad / "manifest.csv", "--output", own)  # fmt: skip
    assert "| it is a photo of --exclude | 26 |" in shown
    training = own / "manifest.csv"
    code, shown, _ = script("audit.py", "--training", training, "--cases", pad / "manifest.csv")
    assert code == 0
    assert "26 cases against 204 training photos: 0 the same file, 0 looking alike" in shown
    code, shown, _ = script("audit.py", "--training", training, "--cases", cases)
    assert code == 1
    assert "204 the same file" in shown


def test_a_folder_per_label_needs_nothing_else(script, tmp_path):
    for number, label in enumerate(("psoriasis", "warts")):
        folder = tmp_path / "mine" / label
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 9), (90 * number, 0, 0)).save(folder / f"{number}.png")
    code, _, told = script("convert.py", "folders", "--images", tmp_path / "mine", "--output",
                           tmp_path / "out", "--template", "This is {label}.")  # fmt: skip
    assert code == 0, told
    assert captions(tmp_path / "out" / "train") == {"This is psoriasis.", "This is warts."}


def test_a_mistake_is_one_sentence(script, tmp_path):
    code, _, told = script("convert.py", "ddi", "--output", tmp_path / "out")
    assert code == 2
    assert told.startswith("error: None of the 0 tables given has the columns DDI_file")
    assert "skincon" in script("convert.py", "--help")[1]


def documented():
    """The converter's command lines in the READMEs, without their line breaks."""
    for path in sorted((PROJECT / "dataset").glob("README*.md")):
        text = path.read_text("utf-8").replace("\\\n", " ")
        yield from re.findall(r"^python dataset/convert\.py (.*)$", text, re.MULTILINE)
        # In tables, where --output is said once for all.
        for command in re.findall(r"`convert\.py ([^`]*)`", text):
            yield f"{command} --output out"


def test_the_readmes_commands_are_ones_the_converter_takes(monkeypatch):
    parse = load_script("dataset/convert.py").parse_args
    used = set()
    for command in documented():
        monkeypatch.setattr(sys, "argv", ["convert.py", *command.split()])
        used.add(parse().source)
    assert used == set(SOURCES)
