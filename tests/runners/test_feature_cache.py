"""Encoding photos before training: the same numbers, no vision tower, nothing encoded twice."""

import json

import pytest
import timm
import torch

from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.datasets.features import FeatureDataset
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.runners import feature_cache
from skingpt4.synthetic.sets import held_out_cases
from skingpt4.tasks.image_text_pretrain import ImageTextPretrainTask
from tests.conftest import PROJECT

CONFIG = PROJECT / "train_configs" / "tiny_stage2_diagnosis.yaml"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of six drawings, the last one damaged, and a row of text for each."""
    from skingpt4.synthetic.render import render

    folder = tmp_path_factory.mktemp("drawn")
    (folder / "image").mkdir()
    rows = []
    for number, case in enumerate(held_out_cases(seed=3, per_class=1)[:6]):
        path = folder / "image" / f"{number}.jpg"
        if number < 5:
            render(case).save(path)
        else:
            path.write_bytes(b"no photo")
        rows.append({"image_id": str(number), "caption": f"This could be {case.disease}."})
    (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}), encoding="utf-8")
    return folder


@pytest.fixture
def make_config(photos, tmp_path):
    def make(*options):
        shared = [
            f"datasets.skin_align.build_info.storage={photos}",
            f"datasets.skin_align.build_info.validation={photos}",
            f"run.output_dir={tmp_path / 'out'}",
            f"run.cache_dir={tmp_path / 'features'}",
            "model.ckpt=weights/skingpt4-tiny/skingpt4_tiny.safetensors",
            "run.cache_features=True",
            "run.cache_crops=3",
            "run.num_workers=0",
            "run.device=cpu",
        ]
        return Config.load(CONFIG, [*shared, *options])

    return make


def cached(config):
    datasets = ImageTextPretrainTask().build_datasets(config)
    return feature_cache.cache_features(config, datasets)["skin_align"], datasets["skin_align"]


def test_features_are_those_of_the_vision_side(make_config):
    config = make_config()
    features, plain = cached(config)
    assert isinstance(features["train"], FeatureDataset)
    assert (features["train"].store.crops, features["val"].store.crops) == (3, 1)
    model = SkinGPT4.from_config(config.model)
    with torch.no_grad():
        wanted = model.encode_query(plain["val"][2]["image"][None])[0]
    made = features["val"][2]["features"]
    assert made.dtype == torch.float16
    assert torch.allclose(made.float(), wanted, atol=2e-3 * wanted.abs().max().item())


def test_nothing_is_encoded_twice_and_a_changed_setting_is_encoded_anew(make_config, monkeypatch):
    first, _ = cached(make_config())
    encode = "skingpt4.runners.feature_cache.SkinGPT4.from_config"
    monkeypatch.setattr(encode, lambda *_, **_settings: pytest.fail("encoded again"))
    again, _ = cached(make_config())
    assert again["train"].store.folder == first["train"].store.folder
    places = {first["train"].store.folder}
    for option in ("run.cache_crops=2", "run.seed=7"):
        with pytest.raises(pytest.fail.Exception, match="encoded again"):
            cached(make_config(option))
    assert places == {again["train"].store.folder}


def test_a_damaged_photo_is_left_out_when_it_is_drawn(make_config):
    features, _ = cached(make_config())
    with pytest.raises(Exception, match="number 5 could not be opened"):
        features["train"][5]


def test_the_loss_needs_no_vision_tower(make_config):
    config = make_config()
    features, _ = cached(config)
    model = SkinGPT4.from_config(config.model, with_tower=False)
    whole = SkinGPT4.from_config(config.model)
    names = {name for name, _ in model.named_parameters()}
    assert not any(name.startswith("visual_encoder") for name in names)
    sample = features["val"][0]
    batch = {"features": sample["features"][None], "dialogue": [sample["dialogue"]]}
    losses = [one(batch)["loss"].item() for one in (model, whole)]
    assert losses[0] == pytest.approx(losses[1])
    with pytest.raises(ConfigError, match="1 photos cannot be encoded"):
        model.encode_img(torch.zeros(1, 3, 112, 112))
    assert model.record() == whole.record()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.freeze_vit=False", "model.freeze_vit is False"),
        ("model.vit_weights=random", "model.vit_weights is 'random'"),
        ("run.cache_crops=0", "run.cache_crops is 0"),
    ],
)
def test_what_cannot_be_cached_is_refused(make_config, option, said):
    with pytest.raises(ConfigError, match=said):
        cached(make_config(option))


def test_a_tower_of_timms_is_cached_by_its_name_and_known_without_being_loaded(
    make_config, tmp_path
):
    torch.manual_seed(0)
    trunk = timm.create_model("test_vit")
    torch.save(trunk.state_dict(), tmp_path / "vit.pth")
    tower = ["model.image_size=32", f"model.vit_weights={tmp_path / 'vit.pth'}", "model.ckpt=''"]
    size = "datasets.skin_align.vis_processor.train.image_size=32"
    name = "model.vit_model=timm/test_vit"
    untrained = Config.load(CONFIG, [*tower, name, "model.q_former_model=random"])
    qformer = SkinGPT4.from_config(untrained.model).state_dict()
    mine = {k: v for k, v in qformer.items() if k.startswith(("Qformer.", "query_tokens", "ln_v"))}
    torch.save({"model": mine}, tmp_path / "qformer.pth")
    tower += [f"model.q_former_model={tmp_path / 'qformer.pth'}", size]
    first, other = make_config(*tower, name), make_config(*tower, f"{name}.r160_in1k")
    folders = [cached(config)[0]["val"].store.folder for config in (first, other)]
    assert folders[0] != folders[1]
    absent, whole = (SkinGPT4.from_config(first.model, with_tower=w) for w in (False, True))
    assert absent.record()["vision"]["values"] == whole.record()["vision"]["values"] is not None
    features, plain = cached(first)
    with torch.no_grad():
        wanted = whole.encode_query(plain["val"][2]["image"][None])[0]
    made = features["val"][2]["features"].float()
    assert torch.allclose(made, wanted, atol=2e-3 * wanted.abs().max().item())
