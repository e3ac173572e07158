"""Batches, orders, seeds, positions, unusable samples, and the mix of several loaders."""

import itertools
import multiprocessing
from collections import Counter

import pytest
import torch
from torch.utils.data import Dataset

from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.common.seeding import derive_seed, rng_state, seeded, set_rng_state
from skingpt4.datasets.loaders import (
    Collate,
    InfiniteBatchSampler,
    MultiIterLoader,
    TrainLoader,
    build_eval_loader,
)


class Numbers(Dataset):
    """Sample i holds i, and a random number of torch's generator as an augmentation would draw."""

    def __init__(self, count, bad=()):
        self.count, self.bad = count, bad

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.bad:
            raise DatasetError(f"Image id '{index}' is damaged.")
        return {"image": torch.rand(3, 2, 2), "image_id": index, "dialogue": [(None, str(index))]}


def ids(batches):
    return [batch["image_id"] for batch in batches]


def take(loader, count):
    return list(itertools.islice(loader, count))


def test_collate_stacks_images_and_lists_the_rest():
    batch = Collate()([Numbers(2)[0], Numbers(2)[1]])
    assert batch["image"].shape == (2, 3, 2, 2)
    assert batch["image_id"] == [0, 1]
    assert batch["dialogue"] == [[(None, "0")], [(None, "1")]]


def test_collate_stacks_features():
    batch = Collate()([{"features": torch.zeros(4, 8)}, {"features": torch.ones(4, 8)}])
    assert batch["features"].shape == (2, 4, 8)


def test_collate_without_images():
    assert Collate()([{"text_input": "a"}, {"text_input": "b"}]) == {"text_input": ["a", "b"]}


def test_the_order_is_fixed_by_the_seed_and_new_in_each_pass():
    def passes(seed):
        batches = ids(take(TrainLoader(Numbers(20), batch_size=5, seed=seed), 8))
        return list(itertools.chain(*batches[:4])), list(itertools.chain(*batches[4:]))

    assert passes(1) == passes(1)
    assert passes(1) != passes(2)
    first, second = passes(1)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(20))


def test_augmentations_follow_from_the_seed_whatever_loads_them():
    def images(seed, workers):
        loader = TrainLoader(Numbers(8), batch_size=2, num_workers=workers, seed=seed)
        return torch.cat([batch["image"] for batch in take(loader, 8)])

    torch.manual_seed(0)
    alone = images(1, 0)
    assert torch.equal(alone, images(1, 2))
    assert not torch.equal(alone, images(2, 0))
    assert len(alone.flatten().unique()) == 16 * 12


def test_loading_draws_nothing_from_the_runs_own_generators():
    before = torch.get_rng_state()
    take(TrainLoader(Numbers(8), batch_size=2), 3)
    take(TrainLoader(Numbers(8), batch_size=2, num_workers=1), 3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_goes_on_where_another_stood(workers):
    whole = take(TrainLoader(Numbers(7), batch_size=2, num_workers=workers), 9)
    first = TrainLoader(Numbers(7), batch_size=2, num_workers=workers)
    take(first, 4)
    second = TrainLoader(Numbers(7), batch_size=2)
    second.load_state_dict(first.state_dict())
    rest = take(second, 5)
    assert ids(rest) == ids(whole[4:])
    assert torch.equal(rest[0]["image"], whole[4]["image"])


def number_of(batch, number):
    return {"number": torch.tensor([number]), "first": torch.tensor(batch["image_id"][0])}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_texts_are_encoded_by_the_batchs_number_whoever_loads_it(workers):
    def numbers(loader, count):
        batches = take(loader, count)
        assert all(batch["first"] == batch["image_id"][0] for batch in batches)
        return [batch["number"].item() for batch in batches]

    first = TrainLoader(Numbers(7), batch_size=2, num_workers=workers, encode=number_of)
    assert numbers(first, 5) == [0, 1, 2, 3, 4]
    second = TrainLoader(Numbers(7), batch_size=2, num_workers=workers, encode=number_of)
    second.load_state_dict(first.state_dict())
    assert numbers(second, 4) == [5, 6, 7, 8]
    assert numbers(build_eval_loader(Numbers(7), 3, workers, number_of), 3) == [0, 1, 2]


def test_processes_share_what_one_would_take():
    def order(rank, world, batch_size):
        return InfiniteBatchSampler(12, batch_size, seed=3, rank=rank, world=world)

    def rows(sampler):
        return [[draw.row for draw in batch] for batch in itertools.islice(sampler, 4)]

    one, left, right = rows(order(0, 1, 4)), rows(order(0, 2, 2)), rows(order(1, 2, 2))
    assert one == [a + b for a, b in zip(left, right, strict=True)]
    assert len(order(0, 1, 4)) == len(order(0, 2, 2)) == 3


@pytest.mark.parametrize(("count", "world"), [(410, 1), (410, 2), (3, 2)])
def test_answers_of_like_length_come_together(count, world):
    """Little is padded, every sample comes once a pass, and batches still come in random order."""
    lengths = [(row * 37) % 101 for row in range(count)]
    orders = [
        InfiniteBatchSampler(count, 2, 0, rank, world, lengths=lengths) for rank in range(world)
    ]
    shares = [list(itertools.islice(order, len(order))) for order in orders]
    batches = [
        [draw.row for share in batch for draw in share] for batch in zip(*shares, strict=True)
    ]
    spread = [max(lengths[r] for r in rows) - min(lengths[r] for r in rows) for rows in batches]
    seen = [row for rows in batches for row in rows]
    if count > 3:
        assert sum(spread) / len(spread) < 5
        assert len(set(seen)) == len(seen) == len(batches) * 2 * world
        firsts = [lengths[rows[0]] for rows in batches]
        assert firsts != sorted(firsts)
    assert shares[0] == list(itertools.islice(orders[0], len(orders[0])))


@pytest.mark.parametrize(("count", "sizes"), [(7, [3, 3, 3]), (2, [2, 2, 2])])
def test_a_short_batch_is_dropped_unless_it_is_the_only_one(count, sizes):
    loader = TrainLoader(Numbers(count), batch_size=3)
    assert [len(batch["image_id"]) for batch in take(loader, 3)] == sizes
    assert loader.batches_a_pass == max(1, count // 3)


def test_processes_get_equal_shares_of_a_data_set_that_is_too_small():
    orders = [InfiniteBatchSampler(3, 2, seed=0, rank=rank, world=2) for rank in range(2)]
    shares = [[draw.row for draw in next(iter(order))] for order in orders]
    assert [len(share) for share in shares] == [2, 2]
    assert {0, 1, 2} == {*shares[0], *shares[1]}


def test_every_sample_is_validated_once():
    batches = list(build_eval_loader(Numbers(7), batch_size=3))
    assert ids(batches) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_another_sample_takes_the_place_of_an_unusable_one(workers):
    loader = TrainLoader(Numbers(20, bad={3}), batch_size=5, num_workers=workers)
    batches = take(loader, 8)
    assert [len(batch["image_id"]) for batch in batches] == [5] * 8
    assert loader.rejected == 2
    again = TrainLoader(Numbers(20, bad={3}), batch_size=5)
    assert ids(take(again, 8)) == ids(batches)


def test_a_budget_of_unusable_samples():
    loader = TrainLoader(Numbers(20, bad={1, 2, 3}), batch_size=5, reject_share=0.1)
    with pytest.raises(DatasetError, match=r"11 of the \d+ samples drawn so far .* 10%; `python"):
        take(loader, 100)


@pytest.mark.parametrize("workers", [0, 1])
def test_no_usable_sample_is_one_sentence_from_a_worker_too(workers):
    loader = TrainLoader(Numbers(2, bad={0, 1}), batch_size=1, num_workers=workers)
    with pytest.raises(DatasetError) as caught:
        next(MultiIterLoader({"skin": loader}))
    loader.close()
    assert str(caught.value).startswith("Data set 'skin': 10 samples in a row could not be used;")
    assert str(caught.value).endswith("is damaged.")


def test_loading_processes_outlive_a_signal_and_end_when_closed():
    others = multiprocessing.active_children()
    loader = TrainLoader(Numbers(8), batch_size=2, num_workers=1)
    next(loader)
    [worker] = [child for child in multiprocessing.active_children() if child not in others]
    worker.terminate()
    assert len(take(loader, 8)) == 8
    loader.close()
    assert not worker.is_alive()


def test_an_empty_data_set():
    with pytest.raises(DatasetError, match="is empty"):
        TrainLoader(Numbers(0), batch_size=2)


class Named:
    """A loader that counts."""

    def __init__(self):
        self.given = 0

    def __next__(self):
        self.given += 1
        return {"number": self.given}

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state):
        self.given = state["given"]

    def close(self):
        pass


def mix(names, ratios=None, seed=42):
    return MultiIterLoader({name: Named() for name in names}, ratios, seed)


def drawn(loader, count):
    return [batch["dataset"] for batch in take(loader, count)]


def test_ratios_are_kept():
    counts = Counter(drawn(mix("abc", [1, 2, 7]), 5000))
    assert counts["a"] == pytest.approx(500, rel=0.2)
    assert counts["b"] == pytest.approx(1000, rel=0.2)
    assert counts["c"] == pytest.approx(3500, rel=0.1)


@pytest.mark.parametrize("ratios", [None, [], [None, None]])
def test_without_ratios_all_are_drawn_alike(ratios):
    assert Counter(drawn(mix("ab", ratios), 2000))["a"] == pytest.approx(1000, rel=0.15)


def test_the_mix_is_fixed_by_its_seed_and_goes_on_where_it_stood():
    assert drawn(mix("ab", seed=1), 40) == drawn(mix("ab", seed=1), 40)
    assert drawn(mix("ab", seed=1), 40) != drawn(mix("ab", seed=2), 40)
    whole = take(mix("ab"), 40)
    first, second = mix("ab"), mix("ab")
    take(first, 15)
    second.load_state_dict(first.state_dict())
    assert take(second, 25) == whole[15:]


@pytest.mark.parametrize(
    ("ratios", "message"), [([1, None], "1 of 2 data sets"), ([1, 0], "is 0;")]
)
def test_ratios_that_contradict(ratios, message):
    with pytest.raises(ConfigError, match=message):
        mix("ab", ratios)


def test_nothing_to_load():
    with pytest.raises(DatasetError, match="no data set to train on"):
        MultiIterLoader({})


def test_seeds_and_states():
    assert derive_seed(1, 2) == derive_seed(1, 2)
    assert len({derive_seed(1, 2), derive_seed(12), derive_seed(2, 1)}) == 3
    state = rng_state()
    first = torch.rand(1)
    with seeded(5):
        inside = torch.rand(1)
    with seeded(5):
        assert torch.equal(torch.rand(1), inside)
    second = torch.rand(1)
    set_rng_state(state)
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(torch.rand(1), second)
