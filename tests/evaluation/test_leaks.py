import csv
import json

import pytest
from PIL import Image

from skingpt4.common.sources import sha256_of
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.errors import EvaluationError
from skingpt4.evaluation.leaks import NEAR_BITS, Fingerprint, dhash, find_leaks, read_training


@pytest.fixture
def cases(drawn_cases):
    return read_cases(drawn_cases)[:5]


@pytest.fixture
def folder(tmp_path, cases):
    """A training folder with one case as it is, one recompressed and resized, one unrelated."""
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "same.jpg").write_bytes(cases[0].image.read_bytes())
    Image.open(cases[1].image).resize((120, 120)).save(folder / "alike.jpg", quality=70)
    Image.linear_gradient("L").save(folder / "other.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_the_same_and_the_like_are_found(cases, folder):
    leaks = find_leaks(cases, read_training(folder))
    found = {(leak.case, leak.training, leak.same_file) for leak in leaks}
    assert found == {("1", "same.jpg", True), ("2", "alike.jpg", False)}
    assert all(leak.distance <= NEAR_BITS for leak in leaks)


def test_manifests_are_compared_by_sha256(cases, tmp_path):
    hashes = {"x.jpg": cases[3].sha256, "y.jpg": "0" * 64}
    as_json = tmp_path / "manifest.json"
    as_json.write_text(json.dumps({"version": 1, "files": hashes}), encoding="utf-8")
    as_rows = tmp_path / "rows.json"
    as_rows.write_text(json.dumps([{"name": k, "sha256": v} for k, v in hashes.items()]))
    as_csv = tmp_path / "manifest.csv"
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "sha256"), *hashes.items()])
    for path in (as_json, as_rows, as_csv):
        (leak,) = find_leaks(cases, read_training(path))
        assert (leak.case, leak.training, leak.same_file) == ("4", "x.jpg", True)


def test_a_manifest_may_bring_dhashes(cases, tmp_path):
    path = tmp_path / "manifest.csv"
    bits = dhash(cases[2].image) ^ 0b111
    path.write_text(f"image,sha256,dhash\nz.jpg,{'0' * 64},{bits:x}\n", encoding="utf-8")
    (leak,) = find_leaks(cases, read_training(path))
    assert (leak.case, leak.distance) == ("3", 3)


def test_bad_manifests_are_one_sentence(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EvaluationError, match="holds no image"):
        read_training(empty)
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_training(tmp_path / "none.csv")
    no_hash = tmp_path / "manifest.json"
    no_hash.write_text('{"version": 2}', encoding="utf-8")
    with pytest.raises(EvaluationError, match="names no sha256"):
        read_training(no_hash)


def test_an_unknown_photo_is_no_leak(cases):
    assert (
        find_leaks(cases, [Fingerprint("far", "0" * 64, ~dhash(cases[0].image) & (2**64 - 1))])
        == []
    )
    assert sha256_of(cases[0].image) == cases[0].sha256
