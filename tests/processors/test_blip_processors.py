"""Processors: numbers equal to upstream's transforms, settings checked, captions cleaned."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.processors import build_processor

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def upstream(square):
    return transforms.Compose([square, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


@pytest.mark.parametrize("size", [224, 112, 364])
def test_eval_equals_torchvision_exactly(photo, size):
    processor = build_processor({"name": "blip2_image_eval", "image_size": size})
    expected = upstream(transforms.Resize((size, size), InterpolationMode.BICUBIC))(photo)
    assert torch.equal(processor(photo), expected)
    other = upstream(transforms.Resize((size, size), InterpolationMode.BILINEAR))(photo)
    assert not torch.equal(processor(photo), other)


def test_eval_takes_the_whole_image_at_any_shape():
    processor = registry.get_processor_class("blip2_image_eval").from_config(None)
    for size in ((1, 1), (5, 400)):
        tensor = processor(Image.new("RGB", size, (255, 0, 0)))
        assert tensor.shape == (3, 224, 224)
        assert tensor[0, 0, 0].item() == pytest.approx((1 - MEAN[0]) / STD[0])


@pytest.mark.parametrize("scale", [(0.5, 1.0), (0.2, 0.3)])
def test_train_equals_torchvision_with_the_same_seed(photo, scale):
    processor = build_processor(
        {"name": "blip2_image_train", "min_scale": scale[0], "max_scale": scale[1]}
    )
    crop = transforms.RandomResizedCrop(224, scale=scale, interpolation=InterpolationMode.BICUBIC)
    torch.manual_seed(3)
    expected = upstream(crop)(photo)
    torch.manual_seed(3)
    assert torch.equal(processor(photo), expected)


def test_train_draws_a_new_crop_each_time(photo):
    processor = build_processor({"name": "blip2_image_train", "image_size": 32})
    assert not torch.equal(processor(photo), processor(photo))


def test_mean_and_std_from_the_configuration(photo):
    cfg = {"name": "blip2_image_eval", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    for given in (cfg, OmegaConf.create(cfg)):
        tensor = build_processor(given)(photo)
        assert tensor.min() >= -1
        assert tensor.max() <= 1
    assert build_processor({"name": "blip2_image_eval"})(photo).max() > 1.5


def test_null_keeps_the_default():
    processor = build_processor({"name": "blip2_image_eval", "image_size": None, "mean": None})
    assert (processor.image_size, processor.mean) == (224, MEAN)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"name": "blip2_image_eval", "img_size": 3}, "no setting 'img_size'; it accepts: image_s"),
        ({"name": "blip2_image_eval", "min_scale": 0.5}, "no setting 'min_scale'"),
        ({"name": "blip2_image_eval", "transform": 1}, "no setting 'transform'"),
        ({"name": "blip2_image_eval", "image_size": 0}, "image_size is 0"),
        ({"name": "blip2_image_eval", "image_size": "224"}, "image_size is '224'"),
        ({"name": "blip2_image_eval", "image_size": True}, "image_size is True"),
        ({"name": "blip2_image_eval", "mean": [0.5, 0.5]}, "mean is"),
        ({"name": "blip2_image_eval", "std": "0.5"}, "std is '0.5'"),
        ({"name": "blip2_image_eval", "std": [1, 0, 1]}, "none may be zero"),
        ({"name": "blip2_image_train", "min_scale": 0.9, "max_scale": 0.5}, "min_scale is 0.9"),
        ({"name": "blip2_image_train", "min_scale": "half"}, "min_scale is 'half'"),
        ({"name": "blip_caption", "words": 3}, "no setting 'words'; it accepts: prompt, max_words"),
        ({"name": "blip_caption", "max_words": 0}, "max_words is 0"),
        ({"name": "blip_caption", "prompt": 5}, "prompt is 5"),
        ({"name": "blip_caption2"}, "Unknown processor 'blip_caption2'; registered are: blip"),
        ({}, "Unknown processor 'None'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(cfg, message):
    with pytest.raises(ConfigError) as caught:
        build_processor(cfg)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A Rash (on the arm).", "a rash on the arm"),
        ('He said: "red"; #3 ~ 5*2!', "he said red 3 5 2"),
        ("two\n\nlines \t here\n", "two lines here"),
        ("kept, commas - and 'quotes'?", "kept, commas - and 'quotes'?"),
        (" ".join(map(str, range(60))), " ".join(map(str, range(50)))),
        ("", ""),
    ],
)
def test_captions(caption, expected):
    assert build_processor({"name": "blip_caption"})(caption) == expected


def test_caption_prompt_and_length():
    processor = build_processor({"name": "blip_caption", "prompt": "a photo of ", "max_words": 2})
    assert processor("Plaque and Scale") == "a photo of plaque and"
