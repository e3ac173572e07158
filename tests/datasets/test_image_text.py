"""Folder data sets: what is read, in which form, and one sentence for each thing wrong."""

import json
import pickle

import pytest
import torch
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import IMAGE_SUFFIXES
from skingpt4.datasets.image_text import ImageTextDataset, TextDialogueDataset
from skingpt4.processors import build_processor
from tests.conftest import TEST_DATA

SMALL = build_processor({"name": "blip2_image_eval", "image_size": 8})
TALK = [
    {"question": "What is it?", "answer": "A plaque."},
    {"question": "Why?", "answer": "Scale."},
]


@pytest.fixture
def write(tmp_path):
    """Write a data set folder: rows of the annotation file, and names of image files."""

    def write_set(rows, images=("1.jpg", "2.jpg")):
        (tmp_path / "image").mkdir(exist_ok=True)
        for name in images:
            Image.new("RGB", (9, 6), (200, 0, 0)).save(tmp_path / "image" / name)
        content = json.dumps({"annotations": rows}, ensure_ascii=False)
        (tmp_path / "filter_cap.json").write_text(content, encoding="utf-8")
        return tmp_path

    return write_set


def test_a_sample_has_upstreams_form(write):
    dataset = ImageTextDataset(write([{"image_id": "1", "caption": "A Rash (red)."}]), SMALL)
    sample = dataset[0]
    assert len(dataset) == 1
    assert sample["image"].shape == (3, 8, 8)
    assert sample["image"].dtype == torch.float32
    assert sample["text_input"] == "A Rash (red)."
    assert sample["dialogue"] == [(None, "A Rash (red).")]
    assert sample["image_id"] == 0


def test_image_id_is_the_rank_of_first_occurrence(write):
    rows = [{"image_id": i, "caption": "c"} for i in ("2", "1", 2, "1")]
    dataset = ImageTextDataset(write(rows), SMALL)
    assert [sample["image_id"] for sample in dataset] == [0, 1, 0, 1]


def test_numeric_ids_unicode_and_other_keys(write):
    rows = [{"image_id": 1, "caption": "Läsion – 皮膚", "source": "atlas", "instance_id": 7}]
    assert ImageTextDataset(write(rows), SMALL)[0]["text_input"] == "Läsion – 皮膚"


def test_a_byte_order_mark_is_accepted(write):
    folder = write([{"image_id": 1, "caption": "c"}])
    path = folder / "filter_cap.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(ImageTextDataset(folder, SMALL)) == 1


@pytest.mark.parametrize("extension", IMAGE_SUFFIXES)
def test_extensions(write, extension):
    dataset = ImageTextDataset(write([{"image_id": "a", "caption": "c"}], ["a" + extension]), SMALL)
    assert dataset[0]["image"].shape == (3, 8, 8)


def test_jpg_comes_first(write):
    folder = write([{"image_id": "1", "caption": "c"}], ["1.jpg", "1.png"])
    assert ImageTextDataset(folder, SMALL).paths["1"].name == "1.jpg"


def test_question_and_dialogue(write):
    rows = [
        {"image_id": "1", "question": "What is it?", "caption": "A plaque."},
        {"image_id": "2", "dialogue": TALK},
    ]
    first, second = ImageTextDataset(write(rows), SMALL)
    assert first["dialogue"] == [("What is it?", "A plaque.")]
    assert second["dialogue"] == [("What is it?", "A plaque."), ("Why?", "Scale.")]
    assert second["text_input"] == "A plaque."


def test_a_text_processor_is_applied_to_answers_only(write):
    folder = write([{"image_id": "1", "dialogue": TALK}])
    dataset = ImageTextDataset(folder, SMALL, build_processor({"name": "blip_caption"}))
    assert dataset[0]["dialogue"] == [("What is it?", "a plaque"), ("Why?", "scale")]


def test_a_data_set_can_go_to_a_worker(write):
    dataset = ImageTextDataset(write([{"image_id": "1", "caption": "c"}]), SMALL)
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0]["image"], dataset[0]["image"])


def test_the_end_of_the_rows_ends_iteration(write):
    with pytest.raises(IndexError):
        ImageTextDataset(write([{"image_id": "1", "caption": "c"}]), SMALL)[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image_id": "1"}, "Annotation 1 of .*no text under 'caption'"),
        ({"image_id": "1", "caption": "  "}, "no text under 'caption'"),
        ({"image_id": "1", "caption": 5}, "no text under 'caption'"),
        ({"image_id": "1", "description": "c"}, "no text under 'caption'"),
        ({"image_id": "1", "caption": "c", "question": ""}, "no text under 'question'"),
        ({"image_id": "1", "dialogue": []}, "'dialogue' that is no list"),
        ({"image_id": "1", "dialogue": "hello"}, "'dialogue' that is no list"),
        ({"image_id": "1", "dialogue": [{"question": "q"}]}, "no text under 'answer'"),
        ({"image_id": "1", "dialogue": [{"answer": "a"}]}, "no text under 'question'"),
        ({"image_id": "1", "dialogue": TALK, "question": "q"}, "both 'question' and 'dialogue'"),
        ({"caption": "c"}, "no usable 'image_id': None"),
        ({"image_id": "", "caption": "c"}, "no usable 'image_id': ''"),
        ({"image_id": True, "caption": "c"}, "no usable 'image_id': True"),
        ({"image_id": ["1"], "caption": "c"}, "no usable 'image_id'"),
        ("caption", "is not a mapping"),
    ],
)
def test_a_wrong_row_is_named(write, row, message):
    folder = write([{"image_id": "1", "caption": "c"}, row])
    with pytest.raises(DatasetError, match=message):
        ImageTextDataset(folder, SMALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a readable UTF-8 JSON file"),
        (b'{"annotations": [', "not a readable UTF-8 JSON file"),
        (b'{"annotations": [{"caption": "L\xe4sion"}]}', "not a readable UTF-8 JSON file"),
        (b"[" * 100_000, "not a readable UTF-8 JSON file"),
        (b"[]", "non-empty list under the key 'annotations'"),
        (b'{"annotations": []}', "non-empty list"),
        (b'{"annotations": {"1": "c"}}', "non-empty list"),
        (b'{"annotation": [1]}', "non-empty list"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, message):
    (tmp_path / "filter_cap.json").write_bytes(text)
    with pytest.raises(DatasetError, match=message) as caught:
        ImageTextDataset(tmp_path, SMALL)
    assert "\n" not in str(caught.value)


def test_missing_folders_and_files(tmp_path, write):
    with pytest.raises(DatasetError, match=r"nowhere' does not exist; set build_info\.storage"):
        ImageTextDataset(tmp_path / "nowhere", SMALL)
    with pytest.raises(DatasetError, match=r"has no filter_cap\.json"):
        ImageTextDataset(tmp_path, SMALL)
    folder = write([{"image_id": "1", "caption": "c"}], [])
    (folder / "image").rmdir()
    with pytest.raises(DatasetError, match="has no folder 'image'"):
        ImageTextDataset(folder, SMALL)


def test_missing_images_are_named_when_the_data_set_is_built(write):
    rows = [{"image_id": i, "caption": "c"} for i in ("1", "x", "../1", "y", "z", "x")]
    with pytest.raises(DatasetError, match=r"lacks 4 of 5 images.* x\.jpg, \.\./1\.jpg, y\.jpg\."):
        ImageTextDataset(write(rows), SMALL)


def test_a_corrupt_image_is_named_by_its_id(write):
    folder = write([{"image_id": "2", "caption": "c"}])
    (folder / "image" / "2.jpg").write_text("no photo", encoding="utf-8")
    dataset = ImageTextDataset(folder, SMALL)
    with pytest.raises(DatasetError, match=r"Image id '2' in .*: '2\.jpg' is a text"):
        dataset[0]


def test_text_only(write):
    rows = [{"question": "What is eczema?", "caption": "An itch."}, {"dialogue": TALK}]
    dataset = TextDialogueDataset(write(rows, []))
    assert dataset[0] == {
        "image_id": 0,
        "name": "0",
        "text_input": "An itch.",
        "dialogue": [("What is eczema?", "An itch.")],
    }
    assert dataset[1]["text_input"] == "A plaque."
    assert dataset[-1]["image_id"] == 1
    assert len(dataset) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"caption": "c"}, "no 'question', which a text-only"),
        ({"image_id": "1", "question": "q", "caption": "c"}, "has an 'image_id'"),
    ],
)
def test_text_only_rows_need_a_question_and_no_image(write, row, message):
    with pytest.raises(DatasetError, match=message):
        TextDialogueDataset(write([row]))


@pytest.mark.parametrize(("name", "count"), [("skin_concept", 24), ("skin_align", 27)])
def test_real_folders(name, count):
    folder = TEST_DATA / "formats" / name
    if not folder.is_dir():
        pytest.skip("real photos not present")
    dataset = ImageTextDataset(folder, SMALL)
    assert len(dataset) == count
    samples = list(dataset)
    assert [sample["image_id"] for sample in samples] == list(range(count))
    assert all(sample["text_input"] for sample in samples)


def test_a_real_malformed_file(tmp_path):
    path = TEST_DATA / "minigpt4_format" / "filter_cap_malformed.json"
    if not path.is_file():
        pytest.skip("real photos not present")
    (tmp_path / "filter_cap.json").write_bytes(path.read_bytes())
    with pytest.raises(DatasetError, match="not a readable UTF-8 JSON file"):
        ImageTextDataset(tmp_path, SMALL)
