"""What the script writes to disk."""

import csv
import filecmp
import json
from collections import Counter

import pytest
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.dermatology import CLASSES, QUESTIONS
from skingpt4.synthetic.sets import (
    EXAMPLE_DISEASES,
    WorldOptions,
    write_contact_sheet,
    write_examples,
    write_world,
)
from tests.scripts import run_script

SMALL = {
    "foundation": 9,
    "dialogues": 30,
    "questions": 20,
    "concept": 9,
    "diagnosis": 12,
    "cases_per_class": 1,
    "size": 48,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "synthetic"
    write_world(folder, WorldOptions(**SMALL, workers=1))
    return folder


def annotations(folder):
    return json.loads((folder / "filter_cap.json").read_text("utf-8"))["annotations"]


def files_below(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_folders_have_upstreams_form(world):
    for name, number in (("step0_general", 9), ("step1_concept", 9), ("step2_diagnosis", 12)):
        notes = annotations(world / name)
        ids = {note["image_id"] for note in notes}
        images = {path.stem for path in (world / name / "image").glob("*.jpg")}
        assert ids == images == {str(place + 1) for place in range(number)}
        with Image.open(world / name / "image" / "1.jpg") as image:
            assert (image.format, image.size) == ("JPEG", (48, 48))


def test_plain_sets_leave_the_question_to_the_prompts(world):
    for name in ("step0_general", "step1_concept"):
        assert all(set(note) == {"image_id", "caption"} for note in annotations(world / name))


def test_step_two_mixes_notes_into_diagnoses(world):
    notes = annotations(world / "step2_diagnosis")
    kinds = Counter(
        "dialogue" if "dialogue" in note else "note" if "question" in note else "plain"
        for note in notes
    )
    assert kinds == {"plain": 12, "note": 4, "dialogue": 4}
    for note in notes:
        if "dialogue" in note:
            assert [turn["question"] for turn in note["dialogue"]] == list(QUESTIONS[:2])
        elif "question" in note:
            assert note["question"] == QUESTIONS[1]
            assert note["caption"].startswith("I also observe ")
        else:
            assert note["caption"].startswith("This could be a skin disease image of ")


@pytest.mark.parametrize(("name", "number"), [("step0_question", 20), ("step0_dialogue", 30)])
def test_text_sets_hold_no_image(world, name, number):
    notes = annotations(world / name)
    assert len(notes) == number
    assert all(set(note) == {"dialogue"} for note in notes)
    assert not (world / name / "image").exists()


def test_cases_list_every_class(world):
    with (world / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "image", "class", "disease", "concepts", "fitzpatrick"]
    assert {row["class"] for row in rows} == {entry.name for entry in CLASSES}
    assert all((world / row["image"]).is_file() for row in rows)
    assert all(2 <= len(row["concepts"].split(";")) <= 6 for row in rows)


def test_manifest_counts_what_was_written(world):
    manifest = json.loads((world / "manifest.json").read_text("utf-8"))
    assert manifest["seed"] == 0
    assert manifest["size"] == 48
    assert sum(manifest["counts"]["step1_concept"]["classes"].values()) == 9
    assert sum(manifest["counts"]["cases"]["fitzpatrick"].values()) == 15


def test_workers_do_not_change_a_byte(world, tmp_path):
    write_world(tmp_path / "again", WorldOptions(**SMALL, workers=2))
    names = files_below(world)
    assert names == files_below(tmp_path / "again")
    _, different, broken = filecmp.cmpfiles(world, tmp_path / "again", names, shallow=False)
    assert (different, broken) == ([], [])


def test_another_seed_gives_other_photographs(world, tmp_path):
    write_world(tmp_path / "other", WorldOptions(**{**SMALL, "concept": 1}, seed=1, workers=1))
    first, second = (
        (folder / "step1_concept" / "image" / "1.jpg").read_bytes()
        for folder in (world, tmp_path / "other")
    )
    assert first != second


def test_refuses_to_overwrite_unless_told(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    few = WorldOptions(
        foundation=1,
        dialogues=1,
        questions=1,
        concept=1,
        diagnosis=1,
        cases_per_class=0,
        size=32,
        workers=1,
    )
    with pytest.raises(DatasetError, match="--overwrite"):
        write_world(tmp_path, few)
    write_world(tmp_path, few, overwrite=True)
    write_world(tmp_path, few, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(files_below(tmp_path / "step1_concept")) == 2


def test_an_output_that_is_a_file_is_named(tmp_path):
    target = tmp_path / "file"
    target.write_text("x")
    with pytest.raises(DatasetError, match="is a file"):
        write_world(target, WorldOptions())


@pytest.mark.parametrize(
    ("name", "value"), [("size", 8), ("workers", 0), ("seed", -1), ("concept", -5)]
)
def test_options_out_of_range_are_named(name, value):
    with pytest.raises(DatasetError, match=f"{name} is {value}"):
        WorldOptions(**{name: value})


def test_contact_sheet_and_examples(tmp_path):
    write_contact_sheet(tmp_path / "docs" / "sheet.png", tile=24)
    with Image.open(tmp_path / "docs" / "sheet.png") as sheet:
        assert sheet.size == (190 + 6 * 28, 22 + 15 * 28)
        columns = [sheet.crop((190 + k * 28, 22, 214 + k * 28, 46)) for k in range(6)]
    assert len({column.tobytes() for column in columns}) == 6
    write_examples(tmp_path / "examples", size=96)
    names = {path.stem for path in (tmp_path / "examples").glob("*.jpg")}
    assert names == {name.replace(" ", "_") for name in EXAMPLE_DISEASES}


def test_script_writes_and_refuses_in_one_sentence(tmp_path):
    few = "--foundation 1 --concept 1 --diagnosis 1 --dialogues 2 --questions 2 "
    few += "--cases-per-class 0 --size 32"
    command = ("dataset/make_synthetic.py", "--output", tmp_path / "out", *few.split())
    first = run_script(*command, "--workers", 1)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()
    second = run_script(*command)
    assert second.returncode == 2
    assert "is not empty" in second.stderr
    assert "Traceback" not in second.stderr
