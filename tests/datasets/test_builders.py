"""Registered names, their settings, and the defaults files of the package."""

import io
import itertools
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image
from webdataset import TarWriter

from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.common.registry import registry
from skingpt4.common.schema import BuildInfo, DatasetConfig
from skingpt4.datasets.builders import BUILDERS, build_dataset
from skingpt4.datasets.image_text import ImageTextDataset, TextDialogueDataset
from skingpt4.datasets.shards import ShardDataset

DEFAULTS = Path(__file__).resolve().parents[2] / "skingpt4" / "configs" / "datasets"
FOLDERS = ("skin_concept", "skin_align", "cc_sbu_align")
SHARDS = ("cc_sbu", "laion")
TEXTS = ("text_dialogue", "text_question")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "image").mkdir()
    Image.new("RGB", (9, 6)).save(tmp_path / "image" / "1.jpg")
    rows = {"annotations": [{"image_id": "1", "caption": "A Plaque."}]}
    (tmp_path / "filter_cap.json").write_text(json.dumps(rows), encoding="utf-8")
    return str(tmp_path)


@pytest.fixture
def shard(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 6)).save(buffer, "JPEG")
    row = {"__key__": "1", "jpg": buffer.getvalue(), "json": {"caption": "Spot No. 1!"}}
    with TarWriter(str(tmp_path / "0.tar")) as writer:
        writer.write(row)
    return str(tmp_path / "0.tar")


def config(storage, **settings):
    return DatasetConfig(build_info=BuildInfo(storage), **settings)


def test_the_registered_names():
    assert registry.names("builder") == sorted([*FOLDERS, *SHARDS, *TEXTS])


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_sets_keep_captions_raw(folder, name):
    settings = {"text_processor": {"train": {"name": "blip_caption"}}}
    dataset = build_dataset(name, config(folder, **settings))["train"]
    assert isinstance(dataset, ImageTextDataset)
    assert dataset[0]["text_input"] == "A Plaque."
    assert dataset[0]["image"].shape == (3, 224, 224)


@pytest.mark.parametrize("name", SHARDS)
def test_shards_clean_captions_and_follow_the_seed(shard, name):
    dataset = build_dataset(name, config(shard), seed=7)["train"]
    assert isinstance(dataset, ShardDataset)
    assert dataset.seed == 7
    assert next(iter(dataset))["text_input"] == "spot no 1"


@pytest.mark.parametrize("name", TEXTS)
def test_text_sets(tmp_path, name):
    rows = {"annotations": [{"question": "Why?", "caption": "Sun."}]}
    (tmp_path / "filter_cap.json").write_text(json.dumps(rows), encoding="utf-8")
    dataset = build_dataset(name, config(str(tmp_path), data_type="text"))["train"]
    assert isinstance(dataset, TextDialogueDataset)
    assert dataset[0]["dialogue"] == [("Why?", "Sun.")]


def test_processor_settings(folder, shard):
    vis = {"train": {"name": "blip2_image_eval", "image_size": 32}}
    text = {"train": {"name": "blip_caption", "max_words": 1}}
    dataset = build_dataset("skin_align", config(folder, vis_processor=vis))["train"]
    assert dataset[0]["image"].shape == (3, 32, 32)
    dataset = build_dataset("laion", config(shard, vis_processor=vis, text_processor=text))["train"]
    assert next(iter(dataset))["text_input"] == "spot"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("skin", {}, "datasets.skin: Unknown builder 'skin'; registered are: cc_sbu, cc_sbu_align"),
        ("laion", {"data_type": "videos"}, "datasets.laion.data_type is 'videos'"),
        ("text_dialogue", {}, "it must be 'text'"),
        (
            "skin_align",
            {"vis_processor": {"train": {"name": "blip3"}}},
            "datasets.skin_align.vis_processor.train: Unknown processor 'blip3'",
        ),
        (
            "skin_align",
            {"vis_processor": {"train": {"img_size": 3}}},
            "datasets.skin_align.vis_processor.train: Processor 'blip2_image_train' has no setting",
        ),
        ("skin_align", {"vis_processor": {"train": "blip2_image_train"}}, "it must be a mapping"),
    ],
)
def test_a_wrong_setting_names_its_place(folder, name, settings, message):
    with pytest.raises(ConfigError) as caught:
        build_dataset(name, config(folder, **settings))
    assert message in str(caught.value)


def test_a_storage_that_is_not_there():
    for name in BUILDERS:
        data_type = BUILDERS[name].data_type
        with pytest.raises(DatasetError, match=r"set build_info\.storage"):
            build_dataset(name, config("nowhere/at/all", data_type=data_type))


def test_every_builder_has_a_defaults_file_without_an_absolute_path(monkeypatch):
    monkeypatch.delenv("SKINGPT4_DATA", raising=False)
    trees = [OmegaConf.load(path) for path in sorted(DEFAULTS.rglob("*.yaml"))]
    entries = dict(itertools.chain.from_iterable(tree.datasets.items() for tree in trees))
    assert sorted(entries) == sorted(BUILDERS)
    for name, entry in entries.items():
        assert entry.data_type == BUILDERS[name].data_type
        assert entry.build_info.storage.startswith("data/")


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_run_needs_only_the_name(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SKINGPT4_DATA", "elsewhere")
    run = tmp_path / "run.yaml"
    run.write_text(f"datasets:\n  {name}:\n    sample_ratio: 2\n", encoding="utf-8")
    dataset = Config.load(run).datasets[name]
    assert dataset.build_info.storage.startswith("elsewhere/")
    assert dataset.data_type == BUILDERS[name].data_type
    assert dataset.sample_ratio == 2
