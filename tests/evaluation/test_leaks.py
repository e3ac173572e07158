"""Cases that a training set holds are found."""

import pytest
from PIL import Image

from skingpt4.convert.fingerprints import NEAR_BITS, Fingerprint, read_fingerprints
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.commands.checks import find_leaks


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
    leaks = find_leaks(cases, read_fingerprints(folder))
    found = {(leak.left, leak.right, leak.same_file) for leak in leaks}
    assert found == {("1", "same.jpg", True), ("2", "alike.jpg", False)}
    assert all(leak.distance <= NEAR_BITS for leak in leaks)


def test_an_unknown_photo_is_no_leak(cases, folder):
    known = next(photo for photo in read_fingerprints(folder) if photo.name == "same.jpg")
    opposite = ~known.dhash & (2**256 - 1)
    assert find_leaks(cases, [Fingerprint("far", "0" * 64, opposite)]) == []
