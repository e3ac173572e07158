"""Batches, seeds, short data sets, and the mix of several loaders."""

import itertools
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.datasets.loaders import MultiIterLoader, build_loader, collate


class Numbers(Dataset):
    """Sample i holds i, and a random number of torch's generator as an augmentation would draw."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"image": torch.rand(3, 2, 2), "image_id": index, "dialogue": [(None, str(index))]}


class Failing(Numbers):
    """Every sample is a user's mistake."""

    def __getitem__(self, index):
        raise DatasetError(f"Image id '{index}' is damaged.")


class Stream(IterableDataset):
    """Gives `count` samples without a length."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ({"image_id": number} for number in range(self.count))


def ids(batches):
    return [batch["image_id"] for batch in batches]


def test_collate_stacks_images_and_lists_the_rest():
    batch = collate([Numbers(2)[0], Numbers(2)[1]])
    assert batch["image"].shape == (2, 3, 2, 2)
    assert batch["image_id"] == [0, 1]
    assert batch["dialogue"] == [[(None, "0")], [(None, "1")]]


def test_collate_without_images():
    assert collate([{"text_input": "a"}, {"text_input": "b"}]) == {"text_input": ["a", "b"]}


def test_the_order_is_fixed_by_the_seed_and_new_in_each_pass():
    def passes(seed):
        loader = build_loader(Numbers(20), batch_size=5, seed=seed)
        return [ids(loader), ids(loader)]

    assert passes(1) == passes(1)
    assert passes(1) != passes(2)
    assert passes(1)[0] != passes(1)[1]
    assert ids(build_loader(Numbers(4), batch_size=2, shuffle=False)) == [[0, 1], [2, 3]]


def test_workers_draw_their_augmentations_from_the_seed():
    def images(seed):
        torch.manual_seed(0)
        loader = build_loader(Numbers(8), batch_size=2, num_workers=2, seed=seed)
        return torch.cat([batch["image"] for batch in loader])

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))
    assert len(images(1).flatten().unique()) == 8 * 12


@pytest.mark.parametrize(
    ("count", "drop_last", "sizes"), [(7, True, [3, 3]), (7, False, [3, 3, 1])]
)
def test_the_last_short_batch(count, drop_last, sizes):
    loader = build_loader(Numbers(count), batch_size=3, drop_last=drop_last)
    assert [len(batch["image_id"]) for batch in loader] == sizes


def test_a_data_set_smaller_than_a_batch_is_kept():
    loader = build_loader(Numbers(2), batch_size=3, drop_last=True)
    assert len(loader) == 1
    assert sorted(next(iter(loader))["image_id"]) == [0, 1]


def test_an_endless_set_may_be_asked_to_shuffle():
    assert ids(build_loader(Stream(4), batch_size=2, shuffle=True)) == [[0, 1], [2, 3]]


def test_the_mix_has_no_end():
    loader = MultiIterLoader([build_loader(Numbers(3), batch_size=2, drop_last=False)])
    taken = list(itertools.islice(loader, 10))
    assert sum(len(batch["image_id"]) for batch in taken) == 15


def test_ratios_are_kept():
    names = [[{"name": name}] for name in "abc"]
    counts = Counter(b["name"] for b in itertools.islice(MultiIterLoader(names, [1, 2, 7]), 5000))
    assert counts["a"] == pytest.approx(500, rel=0.2)
    assert counts["b"] == pytest.approx(1000, rel=0.2)
    assert counts["c"] == pytest.approx(3500, rel=0.1)


@pytest.mark.parametrize("ratios", [None, [], [None, None]])
def test_without_ratios_all_are_drawn_alike(ratios):
    names = [[{"name": name}] for name in "ab"]
    counts = Counter(b["name"] for b in itertools.islice(MultiIterLoader(names, ratios), 2000))
    assert counts["a"] == pytest.approx(1000, rel=0.15)


def test_the_mix_is_fixed_by_its_seed():
    def drawn(seed):
        names = [[{"name": name}] for name in "ab"]
        return "".join(b["name"] for b in itertools.islice(MultiIterLoader(names, seed=seed), 40))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_the_mix_goes_on_where_it_stood():
    loader = MultiIterLoader([build_loader(Numbers(6), batch_size=2, shuffle=False)])
    assert ids(itertools.islice(loader, 2)) == [[0, 1], [2, 3]]
    assert ids(itertools.islice(iter(loader), 2)) == [[4, 5], [0, 1]]


@pytest.mark.parametrize(
    ("ratios", "message"), [([1, None], "1 of 2 data sets"), ([1, 0], "is 0;")]
)
def test_ratios_that_contradict(ratios, message):
    with pytest.raises(ConfigError, match=message):
        MultiIterLoader([[{}], [{}]], ratios)


def test_nothing_to_load():
    with pytest.raises(DatasetError, match="no data set to train on"):
        MultiIterLoader([])
    with pytest.raises(DatasetError, match="Data set 2 of 2 gives no batch"):
        MultiIterLoader([[{}], DataLoader([], batch_size=2)])
    with pytest.raises(DatasetError, match="Data set 1 of 1 gives no batch"):
        next(MultiIterLoader([build_loader(Stream(0), batch_size=2)]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_users_mistake_stays_one_sentence_in_a_worker(num_workers):
    loader = MultiIterLoader([build_loader(Failing(1), batch_size=1, num_workers=num_workers)])
    with pytest.raises(DatasetError) as caught:
        next(loader)
    assert str(caught.value) == "Image id '0' is damaged."
