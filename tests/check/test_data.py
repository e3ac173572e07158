"""``train.py --check`` on data: everything there is to say is said, with names and numbers."""

import dataclasses
import io
import json
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from skingpt4.check import MISSING, NOTE, OK, WRONG
from skingpt4.check import data as data_check
from skingpt4.check.data import check_data, inspect_folder
from skingpt4.common.config import Config
from skingpt4.common.schema import BuildInfo, DatasetConfig, RunConfig
from skingpt4.convert.convert import ConvertOptions, convert
from skingpt4.convert.records import STEP_TEMPLATES, CaptionTemplate, SourceRecord
from skingpt4.dermatology import CLASSES
from skingpt4.models.llm import load_tokenizer

NAME = "skin_align"
PART, VAL = f"data: {NAME}", f"data: {NAME} (val)"


def jpeg(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def write(tmp_path):
    """Write a folder set: captions by image id, and the images' bytes by id."""

    def write_set(captions, images, name="set"):
        folder = tmp_path / name
        (folder / "image").mkdir(parents=True)
        for image_id, content in images.items():
            (folder / "image" / f"{image_id}.jpg").write_bytes(content)
        rows = [{"image_id": image_id, "caption": text} for image_id, text in captions]
        (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}), "utf-8")
        return folder

    return write_set


@pytest.fixture
def check(model_config, llm_folder, tmp_path):
    """Check one data set, with the model's tokenizer."""

    def run(storage, validation="", name=NAME, max_txt_len=160, **changes):
        info = BuildInfo(str(storage), str(validation) if validation else "")
        config = Config(
            model=dataclasses.replace(model_config, max_txt_len=max_txt_len),
            datasets={name: DatasetConfig(build_info=info)},
            run=RunConfig(output_dir=str(tmp_path / "out"), **changes),
        )
        return check_data(config, load_tokenizer(str(llm_folder)))

    return run


def texts(report, part, state):
    return [f.text for f in report.findings if (f.part, f.state) == (part, state)]


def bad(report):
    return [finding for finding in report.findings if finding.state not in (OK, NOTE)]


def test_a_sound_set_is_counted_measured_and_drawn(check, write, tmp_path):
    captions = [("1", "It is acne."), ("2", "It is acne."), ("3", "Psoriasis with Plaque, Scale.")]
    report = check(write(captions, {key: jpeg(int(key)) for key, _ in captions}))
    assert bad(report) == []
    counted, classes, lengths, _ = texts(report, PART, OK)
    assert counted.endswith("set: 3 answers, 3 photos")
    assert classes == "2 classes; the largest has 2 times the photos of the smallest"
    assert "0 of 3 are longer than model.max_txt_len = 160" in lengths
    of_classes, of_concepts = report.tables
    assert "Acne and rosacea" in of_classes.splitlines()[1]
    assert of_classes.splitlines()[1].endswith("2  " + "#" * data_check.BAR)
    assert "none of: Malignant lesions" in of_classes
    assert [line.split()[:2] for line in of_concepts.splitlines()[1:3]] == [
        ["Plaque", "1"],
        ["Scale", "1"],
    ]
    with Image.open(tmp_path / "out" / f"data_{NAME}.png") as plot:
        assert plot.width > 500


def test_every_bad_row_and_photo_is_found_not_only_the_first(check, write):
    captions = [("1", "Acne."), ("2", ""), ("3", "  "), ("4", "Acne."), ("5", "Acne.")]
    storage = write(captions, {"1": jpeg(1), "4": b"no photo"})
    found = inspect_folder(storage, "test")
    assert [fault.split(" of ")[0] for fault in found.faults] == ["Annotation 1", "Annotation 2"]
    assert (found.missing, found.unreadable) == (["5"], ["4"])
    report = check(storage)
    wrong = texts(report, PART, WRONG)
    assert "photos that are not there: 1 (5)" in wrong
    assert any("2 rows cannot be used, the first: Annotation 1" in text for text in wrong)
    assert any("photos that cannot be read: 1 (4)" in text for text in wrong)


def test_unreadable_photos_within_the_runs_budget_do_not_stop_it(check, write):
    images = {str(n): jpeg(n) for n in range(3)} | {"3": b"no photo"}
    storage = write([(key, "Acne.") for key in images], images)
    assert bad(check(storage, reject_share=0.25)) == []
    assert len(bad(check(storage, reject_share=0.2))) == 1


def test_repeats_and_leaks_between_the_splits_are_named(check, write):
    half = io.BytesIO()
    Image.open(io.BytesIO(jpeg(1))).resize((32, 24)).save(half, "JPEG")
    training = write([("1", "Acne."), ("2", "Acne.")], {"1": jpeg(1), "2": jpeg(1)})
    validation = write([("8", "Acne."), ("9", "Acne.")], {"8": half.getvalue(), "9": jpeg(2)}, "v")
    report = check(training, validation)
    assert bad(report) == []
    assert texts(report, PART, NOTE) == ["photos that are there twice: 1 (2 = 1)"]
    (leak,) = texts(report, VAL, NOTE)
    assert leak.startswith("photos that are trained on as well: 2 (8 ~ 1")
    assert "9" not in leak


def test_answers_that_would_lose_their_end_are_counted(check, write, llm_folder):
    captions = [("1", "Acne."), ("2", "Psoriasis of the elbows and of the knees. " * 4)]
    storage = write(captions, {"1": jpeg(1), "2": jpeg(2)})
    (text,) = texts(check(storage, max_txt_len=30), PART, NOTE)
    assert "1 of 2 are longer than model.max_txt_len = 30: they are cut" in text
    # The end symbol counts: an answer is as long as training writes it.
    tokenizer = load_tokenizer(str(llm_folder))
    tokens = len(tokenizer("Acne.###", add_special_tokens=False).input_ids)
    assert f"answers have {tokens} to " in text


def test_the_manifest_knows_classes_better_than_captions(check, write, tmp_path):
    record = SourceRecord(
        "1", None, "test", disease_class=CLASSES[14].name, caption="Grouped blisters."
    )
    photo = tmp_path / "1.jpg"
    photo.write_bytes(jpeg(1))
    options = ConvertOptions(CaptionTemplate(STEP_TEMPLATES[2]))
    convert([dataclasses.replace(record, image=photo)], tmp_path / "converted", options)
    report = check(tmp_path / "converted" / "train")
    assert "Herpes" in report.tables[0].splitlines()[1]


def test_shards_are_looked_into(check, tmp_path):
    def add(tar, name, content):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))

    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(3):
            add(tar, f"{number}.jpg", jpeg(number))
            add(tar, f"{number}.json", json.dumps({"caption": "It is acne."}).encode())
        add(tar, "3.json", json.dumps({"caption": "No photo."}).encode())
    report = check(tmp_path / "0.tar", name="laion")
    assert texts(report, "data: laion", OK)[0].endswith("0.tar: 3 answers, 3 photos")
    assert "Sample '3' lacks an image" in texts(report, "data: laion", WRONG)[0]


def test_what_is_not_there_is_missing_and_an_unknown_name_is_told(check, tmp_path, model_config):
    assert texts(check(tmp_path / "absent"), PART, MISSING)
    (text,) = texts(check(tmp_path, name="skin_aling"), "data: skin_aling", WRONG)
    assert "skin_align" in text
    config = Config(model=model_config)
    assert [finding.state for finding in check_data(config, None).findings] == [MISSING]


def test_without_matplotlib_the_counts_are_still_shown(check, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = check(write([("1", "Acne.")], {"1": jpeg(1)}))
    assert bad(report) == []
    assert any("not drawn" in text for text in texts(report, PART, NOTE))
    assert len(report.tables) == 1
