import json
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.common.seeding import seeded
from skingpt4.datasets.features import CroppedPhotos, FeatureDataset, FeatureStore
from skingpt4.datasets.image_text import ImageTextDataset
from skingpt4.processors import build_processor

TRAINING = {"name": "blip2_image_train", "image_size": 28}


@pytest.fixture
def dataset(tmp_path):
    """Three rows about two photos, the second of which is damaged."""
    folder = tmp_path / "set"
    (folder / "image").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image" / "a.png")
    (folder / "image" / "b.jpg").write_bytes(b"no photo")
    rows = [("a", "first"), ("b", "second"), ("a", "third")]
    content = {"annotations": [{"image_id": i, "caption": text} for i, text in rows]}
    (folder / "filter_cap.json").write_text(json.dumps(content))
    return ImageTextDataset(folder, build_processor(TRAINING))


@pytest.fixture
def store(tmp_path):
    """Features of two photos, two crops each, of four tokens and three numbers."""
    made = FeatureStore(tmp_path / "features" / "key", crops=2)
    made.create(photos=2, tokens=4, width=3)
    numbers = np.arange(2 * 2 * 4 * 3).reshape(2, 2, 4, 3)
    target = made.open_partial()
    target[:] = numbers
    target.flush()
    assert not made.is_complete
    made.finish({"data": "test"}, unusable=[1])
    return made


def test_features_are_read_as_they_were_written(store):
    assert store.is_complete
    again = FeatureStore(store.folder, crops=2)
    expected = torch.arange(12, 24, dtype=torch.float16).reshape(4, 3)
    assert torch.equal(again.read(0, 1), expected)
    with pytest.raises(DatasetError, match="number 1 could not be opened"):
        again.read(1, 0)


def test_a_loading_process_maps_the_file_itself(store):
    store.read(0, 0)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).read(0, 1), store.read(0, 1))


def test_a_sample_has_features_in_the_place_of_the_photo(dataset, store):
    features = FeatureDataset(dataset, store)
    assert len(features) == 3
    sample = features[2]
    assert "image" not in sample
    assert sample["features"].shape == (4, 3)
    assert (sample["text_input"], sample["image_id"], sample["name"]) == ("third", 0, "a")
    with pytest.raises(DatasetError):
        features[1]
    assert features.identity() == {**dataset.identity(), "features": "key"}


def test_the_callers_random_state_chooses_the_crop(dataset, store):
    features = FeatureDataset(dataset, store)

    def drawn(seed):
        with seeded(seed):
            return features[0]["features"][0, 0].item()

    assert {drawn(seed) for seed in range(20)} == {0.0, 12.0}
    assert [drawn(seed) for seed in range(9)] == [drawn(seed) for seed in range(9)]


def test_crops_depend_on_seed_photo_and_number_alone(dataset):
    photos = CroppedPhotos(dataset, crops=3, seed=1)
    random.seed(5)
    first = photos[0]
    random.seed(6)
    torch.manual_seed(7)
    assert torch.equal(photos[0], first)
    assert first.shape == (3, 3, 28, 28)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(CroppedPhotos(dataset, crops=3, seed=2)[0], first)
    assert photos[1] is None
