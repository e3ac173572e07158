"""A conversion: what is written, what is left out and why, and that nobody can be told from it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import sha256_of
from skingpt4.convert.convert import ConvertOptions, convert
from skingpt4.convert.manifest import find_manifest, read_manifest
from skingpt4.convert.records import STEP_TEMPLATES, CaptionTemplate, SourceRecord, may_identify
from skingpt4.datasets.image_text import ImageTextDataset
from skingpt4.datasets.shards import ShardDataset
from skingpt4.dermatology import CLASSES
from skingpt4.processors import build_processor

SMALL = build_processor({"name": "blip2_image_eval", "image_size": 8})
DIAGNOSIS, CONCEPTS = (CaptionTemplate(STEP_TEMPLATES[step]) for step in (2, 1))
ACNE, PSORIASIS = CLASSES[0].name, CLASSES[10].name
SECRET = "PAT_46_881"


@pytest.fixture
def photo(tmp_path):
    """Write a photo whose file name and EXIF tell the patient; ``seed`` decides its content."""

    def write(name, seed, size=(64, 48)):
        noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        exif = image.getexif()
        exif[0x010E], exif[0x0112] = SECRET, 6  # description; to be turned by 90 degrees
        path = tmp_path / "photos" / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, exif=exif)
        return path

    return write


@pytest.fixture
def records(photo):
    """Four patients with two photos each."""
    return [
        SourceRecord(
            place=f"line {n}",
            image=photo(f"{SECRET}_{n}", n),
            source="test",
            label=("acne", "psoriasis")[n % 2],
            disease_class=(ACNE, PSORIASIS)[n % 2],
            concepts=("Papule", "Erythema"),
            skin_type="IV",
            group=f"{SECRET}_{n // 2}",
        )
        for n in range(8)
    ]


@pytest.fixture
def run(tmp_path):
    def run(records, **options):
        output = tmp_path / "out"
        options = ConvertOptions(**{"template": DIAGNOSIS, "workers": 2, **options})
        return output, convert(records, output, options)

    return run


def annotations(output, split="train"):
    return json.loads((output / split / "filter_cap.json").read_text("utf-8"))["annotations"]


def reasons(conversion):
    return {skip.place: (skip.reason, skip.about) for skip in conversion.skipped}


def test_a_folder_set_can_be_trained_on(run, records):
    output, conversion = run(records)
    assert len(conversion.rows) == conversion.texts == 8
    rows = annotations(output)
    assert rows[1] == {
        "image_id": "2",
        "caption": "This could be a skin disease image of psoriasis.",
    }
    dataset = ImageTextDataset(output / "train", SMALL)
    assert len(dataset) == 8
    assert dataset[0]["text_input"] == "This could be a skin disease image of acne."


def test_step_one_lists_concepts(run, records):
    output, _ = run(records, template=CONCEPTS)
    text = "This is a skin disease image with following clinical concepts: Papule, Erythema"
    assert annotations(output)[0]["caption"] == text


def test_nothing_written_tells_the_patient(run, records):
    output, _ = run(records, val_share=0.5)
    for path in output.rglob("*"):
        assert SECRET not in path.name
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    with Image.open(next(output.rglob("1.jpg"))) as image:
        assert not image.getexif()
        assert image.size == (48, 64)  # turned, as the EXIF said


def test_the_manifest_describes_each_photo(run, records):
    output, _ = run(records)
    assert find_manifest(output / "train") == output / "manifest.csv"
    rows = read_manifest(output / "manifest.csv")
    row = rows[3]
    assert row.sha256 == sha256_of(output / "train" / "image" / "4.jpg")
    assert row.source_sha256 == sha256_of(records[3].image)
    assert (row.source, row.label, row.disease_class) == ("test", "psoriasis", PSORIASIS)
    assert (row.skin_type, row.concept_names) == ("IV", ("Papule", "Erythema"))
    assert [row.group for row in rows] == ["1", "1", "2", "2", "3", "3", "4", "4"]


def test_a_manifest_of_others_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("image,sha256\n1,2\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"not one that dataset/convert\.py wrote"):
        read_manifest(tmp_path / "manifest.csv")


def test_splits_keep_patients_together_and_do_not_move(run, records):
    _, first = run(records, val_share=0.5)
    splits = {row.source_sha256: row.split for row in first.rows}
    assert set(splits.values()) == {"train", "val"}
    for one, two in zip(first.rows[::2], first.rows[1::2], strict=True):
        assert one.split == two.split
    _, again = run(records[2:], val_share=0.5, overwrite=True)
    assert all(splits[row.source_sha256] == row.split for row in again.rows)
    own = [replace(record, split="test") for record in records]
    output, _ = run(own, val_share=0.5, overwrite=True)
    assert len(annotations(output, "test")) == 8
    assert not (output / "val").exists()


def test_each_reason_to_leave_a_record_out(run, records, photo, tmp_path):
    good = records[0]
    broken = tmp_path / "photos" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    copy = tmp_path / "photos" / "copy.jpg"
    copy.write_bytes(good.image.read_bytes())
    bad = {
        "refused": replace(good, skip="the source says so"),
        "outside": replace(good, disease_class="", label="warts"),
        "absent": replace(good, image=None),
        "wordless": replace(good, label=""),
        "broken": replace(good, image=broken),
        "copy": replace(good, image=copy),
    }
    _, conversion = run([good, *(replace(record, place=name) for name, record in bad.items())])
    assert len(conversion.rows) == 1
    assert {place: reason for place, (reason, _) in reasons(conversion).items()} == {
        "refused": "the source says so",
        "outside": "its label is outside the 15 classes",
        "absent": "its image is not in the folders",
        "wordless": "it has neither a caption nor what the template needs",
        "broken": "its image cannot be read",
        "copy": "it is the same file as another image",
    }
    assert reasons(conversion)["copy"][1] == "1"
    assert reasons(conversion)["outside"][1] == "warts"


def test_the_report_counts_and_the_table_names(run, records):
    output, _ = run([*records, replace(records[0], place="line 9", image=None)])
    report = (output / "report.md").read_text("utf-8")
    assert "8 photos with 8 texts; 1 records left out" in report
    assert f"| {ACNE} | 4 |" in report
    assert "| IV | 8 |" in report
    assert "| its image is not in the folders | 1 |" in report
    assert STEP_TEMPLATES[2] in report
    assert "before anyone else" not in report
    with (output / "skipped.csv").open(encoding="utf-8") as file:
        assert [row["place"] for row in csv.DictReader(file)] == ["line 9"]


def test_what_is_outside_the_classes_may_be_kept(run, records):
    wart = replace(records[0], label="warts", disease_class="")
    _, conversion = run([wart], keep_others=True)
    assert conversion.rows[0].disease_class == "Others"
    _, conversion = run([wart], classified=False, overwrite=True)
    assert conversion.rows[0].disease_class == ""


def test_photos_of_a_case_list_are_left_out(run, records, tmp_path):
    smaller = tmp_path / "cases" / "alike.png"
    smaller.parent.mkdir()
    Image.open(records[5].image).transpose(Image.Transpose.ROTATE_270).resize((40, 50)).save(
        smaller
    )
    cases = tmp_path / "cases.csv"
    cases.write_text(f"id,image\n1,photos/{records[2].image.name}\n2,cases/alike.png\n")
    _, conversion = run(records, exclude=(cases,))
    assert len(conversion.rows) == 6
    assert {place: reason for place, (reason, _) in reasons(conversion).items()} == {
        "line 2": "it is a photo of --exclude",
        "line 5": "it looks like a photo of --exclude",
    }


def test_notes_stay_as_they_are_and_suspicious_ones_are_told(run, records):
    note = 'Mrs. Smith, seen 3.4.2021: "scaly" plaques;\nsince 2 years (~5 cm).'
    noted = [
        replace(records[0], caption=note, question="What do you see?"),
        replace(records[0], caption="A second note."),
        replace(records[1], caption="Plain plaques of 5 cm since 2019."),
    ]
    output, conversion = run(noted, classified=False)
    first, second, third = annotations(output)
    assert first == {"image_id": "1", "question": "What do you see?", "caption": note}
    assert second == {"image_id": "1", "caption": "A second note."}
    assert third["image_id"] == "2"
    assert conversion.suspects == ["1"]
    assert "image 1." in (output / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    ["a.b@clinic.org", "born 1.2.1980", "2021-05-06", "call 0170 1234567", "Dr. House", "Mr Bean"],
)
def test_what_may_identify_is_seen(text):
    assert may_identify(f"Plaques, {text}, since weeks.")
    assert not may_identify("Plaques of 2 x 3 cm, since 12 weeks, 50 mg/d, grade 2-3.")


def test_large_photos_are_scaled_down(run, photo, records):
    large = replace(records[0], image=photo("large", 50, size=(300, 200)))
    output, _ = run([large], max_side=90)
    with Image.open(output / "train" / "image" / "1.jpg") as image:
        assert image.size == (60, 90)


def test_shards_hold_the_same(run, records):
    output, _ = run(records, form="shards", shard_size=3)
    assert sorted(path.name for path in (output / "train").iterdir()) == [
        "000000.tar",
        "000001.tar",
        "000002.tar",
    ]
    stream = iter(ShardDataset(f"{output}/train/{{000000..000002}}.tar", SMALL))
    texts = {next(stream)["text_input"] for _ in range(20)}
    assert texts == {f"This could be a skin disease image of {w}." for w in ("acne", "psoriasis")}
    again = (output / "train" / "000000.tar").read_bytes()
    run(records, form="shards", shard_size=3, overwrite=True)
    assert (output / "train" / "000000.tar").read_bytes() == again
    with pytest.raises(DatasetError, match="captions only"):
        run([replace(records[0], question="Why?")], form="shards", overwrite=True)


def test_an_output_in_use_is_not_touched(run, records):
    output, _ = run(records)
    with pytest.raises(DatasetError, match="not empty"):
        run(records)
    (output / "mine.txt").write_text("keep")
    run(records[:2], overwrite=True)
    assert (output / "mine.txt").read_text() == "keep"
    assert len(list((output / "train" / "image").iterdir())) == 2
    (output.parent / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file"):
        convert(records, output.parent / "file", ConvertOptions(DIAGNOSIS))


def test_nothing_usable_is_one_sentence(run, records):
    absent = [replace(record, image=None) for record in records]
    with pytest.raises(DatasetError, match=r"None of the 8 .* 8 times: its image is not in"):
        run(absent)


@pytest.mark.parametrize("text", ["A skin disease.", "Disease {name}", "{", "{0}"])
def test_templates_without_a_usable_field_are_refused(text):
    with pytest.raises(DatasetError, match="caption template"):
        CaptionTemplate(text)


@pytest.mark.parametrize("change", [{"val_share": 1.0}, {"form": "zip"}, {"max_side": 0}])
def test_options_out_of_range_are_refused(change):
    with pytest.raises(DatasetError, match="--"):
        ConvertOptions(DIAGNOSIS, **change)
