"""The same photo is known again, scaled or recompressed; another is not taken for it."""

import csv
import hashlib
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import IMAGE_SUFFIXES
from skingpt4.convert import fingerprints as module
from skingpt4.convert.fingerprints import (
    NEAR_BITS,
    Collection,
    Fingerprint,
    dhash,
    find_matches,
    find_repeats,
    fingerprint,
    read_fingerprints,
)
from skingpt4.processors.photo import open_photo
from tests.conftest import TEST_DATA


def picture(seed, size=160):
    """A smooth random picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def jpeg(image, quality=90):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "below").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "set" / "below" / f"{number}.jpg").write_bytes(jpeg(picture(number)))
    (tmp_path / "set" / "broken.png").write_bytes(b"no image")
    (tmp_path / "set" / "notes.txt").write_text("no photo")
    return tmp_path / "set"


def bits_apart(left, right):
    return (dhash(left) ^ dhash(right)).bit_count()


def test_scaling_and_recompression_stay_near_and_others_far():
    photo = picture(0)
    assert bits_apart(photo, photo.resize((70, 70))) <= NEAR_BITS
    assert bits_apart(photo, open_photo(jpeg(photo, quality=30))) <= NEAR_BITS
    assert bits_apart(photo, photo.point(lambda value: value // 2)) <= NEAR_BITS
    apart = [bits_apart(picture(a), picture(b)) for a, b in itertools.combinations(range(12), 2)]
    assert min(apart) > 2 * NEAR_BITS


def test_the_bits_are_those_of_manifests_written_before():
    """Row by row, one where the right pixel of two is brighter; the first bit is the highest."""
    assert f"{dhash(picture(0)):064x}" == (
        "f1c0f1c0f18f1e0f0e0f1e0f1ff0f3f0f3e0e3e00c700c780c3f0e3f1e3f1e1f"
    )


@pytest.mark.skipif(not TEST_DATA.is_dir(), reason="no real photos here; see CONTRIBUTING.md")
def test_real_photos_are_told_apart():
    files = sorted((TEST_DATA / "images").glob("isic*/*.jpg"))
    prints = [fingerprint(file.read_bytes(), file.name) for file in files]
    assert len(prints) == 60
    assert find_repeats(prints) == []
    smaller = [
        fingerprint(jpeg(open_photo(file).resize((128, 128)), 60), file.name) for file in files
    ]
    found = find_matches(smaller, prints)
    assert [match.left for match in found] == [match.right for match in found]
    assert len(found) >= 57  # 58 at the time of writing: dermoscopy is smooth


def test_a_folder_is_read_with_what_lies_below_it(folder):
    photos = {photo.name: photo for photo in read_fingerprints(folder)}
    assert set(photos) == {"below/0.jpg", "below/1.jpg", "below/2.jpg", "broken.png"}
    assert photos["broken.png"].dhash is None
    content = (folder / "below" / "0.jpg").read_bytes()
    assert photos["below/0.jpg"].sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_photos_of_every_format_are_found_and_looked_alike(tmp_path, ending):
    picture(1).save(tmp_path / f"A{ending.upper()}")
    (photo,) = read_fingerprints(tmp_path)
    assert bits_apart(picture(1), open_photo(tmp_path / photo.name)) <= NEAR_BITS


def test_a_table_that_names_image_files_is_read(folder):
    table = folder / "cases.csv"
    table.write_text("id,image\n1,below/1.jpg\n2,absent.jpg\n", encoding="utf-8")
    (photo,) = read_fingerprints(table)
    assert photo.name == "below/1.jpg"
    assert photo.dhash == dhash(picture(1)) or photo.dhash is not None


def test_manifests_are_read_in_every_form(tmp_path):
    hashes = {"x.jpg": "a" * 64, "y.jpg": "0" * 64}
    as_json = tmp_path / "manifest.json"
    as_json.write_text(json.dumps({"version": 1, "files": hashes}), encoding="utf-8")
    as_rows = tmp_path / "rows.json"
    as_rows.write_text(json.dumps([{"name": k, "sha256": v} for k, v in hashes.items()]))
    as_csv = tmp_path / "manifest.csv"
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "sha256"), *hashes.items()])
    for path in (as_json, as_rows, as_csv):
        photos = read_fingerprints(path)
        assert {photo.name: photo.sha256 for photo in photos} == hashes


def test_a_converted_photo_is_known_by_its_original(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(f"image,sha256,source_sha256,dhash\n7,{'1' * 64},{'2' * 64},ff\n")
    collection = Collection(read_fingerprints(path))
    (match,) = collection.matches(Fingerprint("case", "2" * 64))
    assert (match.right, match.same_file) == ("7", True)
    (match,) = collection.matches(Fingerprint("case", "3" * 64, 0xFF ^ 0b111))
    assert (match.right, match.distance, match.same_file) == ("7", 3, False)
    assert list(collection.matches(Fingerprint("case", "3" * 64, 2**256 - 1))) == []
    assert list(Collection([]).matches(Fingerprint("case", "3" * 64, 0))) == []


def test_repeats_name_the_first_of_each(monkeypatch):
    photos = [
        Fingerprint("a", "1", 0),
        Fingerprint("b", "1", 0),
        Fingerprint("c", "2", 0b11),
        Fingerprint("d", "3", 2**256 - 1),
        Fingerprint("e", "4"),
    ]
    found = [(m.left, m.right, m.distance, m.same_file) for m in find_repeats(photos)]
    assert found == [("b", "a", 0, True), ("c", "a", 2, False)]
    monkeypatch.setattr(module, "MOST_COMPARED", 4)
    assert [match.left for match in find_repeats(photos)] == ["b"]


def test_bad_places_are_one_sentence(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        read_fingerprints(empty)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_fingerprints(tmp_path / "none.csv")
    no_hash = tmp_path / "manifest.json"
    no_hash.write_text('{"version": 2}', encoding="utf-8")
    with pytest.raises(DatasetError, match="names no sha256"):
        read_fingerprints(no_hash)
