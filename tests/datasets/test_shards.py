"""Shards: seeded order, both processors applied, bad samples counted, hopeless shards refused."""

import io
import itertools
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import IMAGE_SUFFIXES
from skingpt4.datasets import shards as shards_module
from skingpt4.datasets.loaders import TrainLoader
from skingpt4.datasets.shards import ShardDataset, expand_shards
from skingpt4.processors import build_processor
from tests.conftest import TEST_DATA

SMALL = build_processor({"name": "blip2_image_eval", "image_size": 8})
CAPTION = build_processor({"name": "blip_caption"})


def image_bytes(file_format="JPEG"):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 6), (200, 0, 0)).save(buffer, file_format)
    return buffer.getvalue()


def caption(text):
    return json.dumps({"caption": text}).encode()


def good(number):
    name = f"{number:06d}"
    return {name + ".jpg": image_bytes(), name + ".json": caption(f"Spot No. {number}!")}


def write_shard(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.fixture
def two_shards(tmp_path):
    for shard in range(2):
        rows = [good(10 * shard + number) for number in range(10)]
        write_shard(tmp_path / f"{shard}.tar", {k: v for row in rows for k, v in row.items()})
    return str(tmp_path / "{0..1}.tar")


def texts(dataset, count):
    return [sample["text_input"] for sample in itertools.islice(dataset, count)]


def test_a_sample(two_shards):
    sample = next(iter(ShardDataset(two_shards, SMALL, CAPTION)))
    assert sample["image"].shape == (3, 8, 8)
    assert sample["text_input"].startswith("spot no ")
    assert sample["dialogue"] == [(None, sample["text_input"])]
    assert sample["image_id"] == 0


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_members_of_every_format(tmp_path, ending):
    file_format = Image.registered_extensions()[ending]
    members = {"a" + ending: image_bytes(file_format), "a.json": caption("A spot")}
    dataset = ShardDataset(write_shard(tmp_path / "0.tar", members), SMALL)
    assert texts(dataset, 2) == ["A spot"] * 2


def test_the_stream_has_no_end_and_meets_every_sample(two_shards):
    seen = texts(ShardDataset(two_shards, SMALL), 400)
    assert set(seen) == {f"Spot No. {number}!" for number in range(20)}


def test_the_order_is_shuffled_and_fixed_by_the_seed(two_shards):
    first = texts(ShardDataset(two_shards, SMALL, seed=1), 50)
    assert texts(ShardDataset(two_shards, SMALL, seed=1), 50) == first
    assert texts(ShardDataset(two_shards, SMALL, seed=2), 50) != first
    numbers = [int(text.removeprefix("Spot No. ").removesuffix("!")) for text in first[:10]]
    assert numbers != sorted(numbers)


def test_workers_draw_different_orders(two_shards):
    loader = TrainLoader(ShardDataset(two_shards, SMALL), batch_size=20, num_workers=2)
    batches = list(itertools.islice(loader, 2))
    assert batches[0]["image"].shape == (20, 3, 8, 8)
    assert batches[0]["text_input"] != batches[1]["text_input"]


@pytest.mark.parametrize(("workers", "given"), [(0, 3), (0, 25), (2, 4), (2, 7)])
def test_a_stream_goes_on_where_it_stood(two_shards, monkeypatch, workers, given):
    """In the first block and later ones, whichever worker's turn it is."""
    monkeypatch.setattr(shards_module, "BLOCK_SAMPLES", 30)

    def loader():
        return TrainLoader(ShardDataset(two_shards, SMALL), batch_size=3, num_workers=workers)

    whole = [batch["text_input"] for batch in itertools.islice(loader(), given + 6)]
    first, second = loader(), loader()
    list(itertools.islice(first, given))
    second.load_state_dict(first.state_dict())
    rest = [batch["text_input"] for batch in itertools.islice(second, 6)]
    assert rest == whole[given:]


def test_a_resumed_stream_decodes_nothing_that_was_given(two_shards):
    decoded = []
    dataset = ShardDataset(two_shards, lambda image: decoded.append(image) or torch.zeros(1))
    dataset.resume(0, positions={0: (0, 500)}, first=0)
    next(iter(dataset))
    assert len(decoded) == 1


def test_processes_draw_different_streams(two_shards):
    left, right = ShardDataset(two_shards, SMALL), ShardDataset(two_shards, SMALL)
    right.resume(rank=1, positions={}, first=0)
    assert texts(left, 20) != texts(right, 20)


@pytest.mark.parametrize(
    ("ending", "file_format"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")]
)
def test_other_endings(tmp_path, ending, file_format):
    members = {f"a.{ending}": image_bytes(file_format), "a.json": caption("c"), "a.txt": b"c"}
    path = write_shard(tmp_path / "a.tar", members)
    assert next(iter(ShardDataset(path, SMALL)))["text_input"] == "c"


BAD = {
    "corrupt image": {"b.jpg": b"no photo", "b.json": caption("secret words")},
    "no image": {"b.json": caption("secret words")},
    "no json": {"b.jpg": image_bytes()},
    "broken json": {"b.jpg": image_bytes(), "b.json": b'{"caption": "secret words'},
    "json of another kind": {"b.jpg": image_bytes(), "b.json": b'["secret words"]'},
    "no caption": {"b.jpg": image_bytes(), "b.json": b'{"text": "secret words"}'},
    "empty caption": {"b.jpg": image_bytes(), "b.json": caption(" ")},
    "caption of another kind": {"b.jpg": image_bytes(), "b.json": b'{"caption": 3}'},
    "not UTF-8": {"b.jpg": image_bytes(), "b.json": b'{"caption": "\xff"}'},
}


@pytest.mark.parametrize("members", BAD.values(), ids=BAD.keys())
def test_a_bad_sample_is_skipped_counted_and_logged_without_content(tmp_path, caplog, members):
    path = write_shard(tmp_path / "a.tar", {**good(1), **members, **good(2)})
    dataset = ShardDataset(path, SMALL)
    with caplog.at_level(logging.WARNING):
        seen = texts(dataset, 60)
    assert set(seen) == {"Spot No. 1!", "Spot No. 2!"}
    assert dataset.rejected >= 10
    assert "Skipped 1 bad samples" in caplog.text
    assert "Skipped 3 bad" not in caplog.text
    assert "secret" not in caplog.text
    assert "b.jpg" not in caplog.text


def test_a_truncated_shard_gives_what_it_has(tmp_path):
    rows = {k: v for number in range(10) for k, v in good(number).items()}
    path = Path(write_shard(tmp_path / "a.tar", rows))
    path.write_bytes(path.read_bytes()[:12_000])
    dataset = ShardDataset(str(path), SMALL)
    assert "Spot No. 0!" in texts(dataset, 200)
    assert dataset.rejected > 0


@pytest.mark.parametrize("content", ["bad samples", "no samples", "no tar", "nothing"])
def test_shards_without_one_good_sample_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(shards_module, "REJECTS_IN_A_ROW", 100)
    path = tmp_path / "a.tar"
    if content in ("bad samples", "no samples"):
        write_shard(path, BAD["corrupt image"] if content == "bad samples" else {})
    else:
        path.write_bytes(b"no tar at all" if content == "no tar" else b"")
    with pytest.raises(DatasetError, match="were all unusable"):
        next(iter(ShardDataset(str(path), SMALL)))


def test_many_rejects_among_good_samples_are_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "REJECTS_IN_A_ROW", 100)
    path = write_shard(tmp_path / "a.tar", {**good(1), **BAD["corrupt image"]})
    dataset = ShardDataset(path, SMALL)
    assert len(texts(dataset, 300)) == 300
    assert dataset.rejected > 100


def test_brace_ranges(tmp_path):
    for name in ("00", "01", "02", "x"):
        (tmp_path / f"{name}.tar").touch()
    assert expand_shards(f"{tmp_path}/{{00..02}}.tar") == [f"{tmp_path}/0{i}.tar" for i in range(3)]
    assert expand_shards(f"{tmp_path}/x.tar") == [f"{tmp_path}/x.tar"]


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("", "is empty"),
        ("{0..9}.tar", "10 of 10 shards are missing, the first being 0.tar, 1.tar, 2.tar"),
        ("pipe:echo hello", "1 of 1 shards are missing"),
        ("a{0..1.tar", "unbalanced braces|missing"),
    ],
)
def test_missing_shards_are_named_at_once(storage, message):
    with pytest.raises(DatasetError, match=message):
        ShardDataset(storage, SMALL)


def test_real_shards():
    folder = TEST_DATA / "formats" / "wds"
    if not folder.is_dir():
        pytest.skip("real photos not present")
    loaded = ShardDataset(str(folder / "{00000..00001}.tar"), lambda image: digest(image), CAPTION)
    seen = {sample["image"] for sample in itertools.islice(loaded, 1500)}
    assert len(seen) == 60
    assert loaded.rejected == 0


def digest(image):
    return hash(np.asarray(image).tobytes())


def test_a_batch_of_real_shards():
    folder = TEST_DATA / "formats" / "wds"
    if not folder.is_dir():
        pytest.skip("real photos not present")
    batch = next(TrainLoader(ShardDataset(str(folder / "00000.tar"), SMALL, CAPTION), batch_size=8))
    assert batch["image"].shape == (8, 3, 8, 8)
    assert torch.isfinite(batch["image"]).all()
