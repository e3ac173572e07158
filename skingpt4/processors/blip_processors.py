"""Processors under upstream's names: photo to normalised tensor, caption to plain words.

With the same photo, crop and settings the numbers equal upstream's exactly: torchvision's first
transforms on Pillow images, bicubic, CLIP's mean and deviation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

P = TypeVar("P", bound="Processor")

PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))


@dataclass
class Processor:
    """Something built from a configuration's mapping; a subclass's fields are its keys."""

    registered_name: ClassVar[str]

    @classmethod
    def from_config(cls: type[P], cfg: Mapping[str, Any] | None = None) -> P:
        """Build from a mapping of fields; a missing or null key keeps its default.

        The key ``name``, by which the class was found, is ignored.

        Raises:
            ConfigError: If a key is unknown or a value is not usable.
        """
        given = {key: value for key, value in (cfg or {}).items() if value is not None}
        given.pop("name", None)
        accepted = [entry.name for entry in fields(cls) if entry.init]
        unknown = sorted(set(given) - set(accepted))
        if unknown:
            raise ConfigError(
                f"Processor '{cls.registered_name}' has no setting '{unknown[0]}'; "
                f"it accepts: {', '.join(accepted)}."
            )
        return cls(**given)

    def _require(self, holds: bool, key: str, rule: str) -> None:
        if not holds:
            raise ConfigError(
                f"Processor '{self.registered_name}': {key} is {getattr(self, key)!r}, but {rule}."
            )


@dataclass
class _ImageProcessor(Processor):
    """What both image processors share: the size, the normalisation and the call."""

    image_size: int = 224
    # The vision towers were trained with CLIP's figures; ImageNet's would shift every feature.
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    transform: transforms.Compose = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._require(
            _is_number(self.image_size, int) and self.image_size > 0,
            "image_size",
            "it must be a positive whole number of pixels",
        )
        for key in ("mean", "std"):
            values = getattr(self, key)  # a list, a tuple or OmegaConf's list
            is_rgb = isinstance(values, Sequence) and len(values) == 3
            self._require(is_rgb and all(map(_is_number, values)), key, "it must be three numbers")
        self._require(all(self.std), "std", "none may be zero")
        normalise = transforms.Normalize(list(self.mean), list(self.std))
        self.transform = transforms.Compose([self._to_square(), transforms.ToTensor(), normalise])

    def _to_square(self) -> torch.nn.Module:
        raise NotImplementedError

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn an RGB image into a normalised float32 tensor ``[3, image_size, image_size]``."""
        tensor: torch.Tensor = self.transform(image)
        return tensor


def _is_number(value: object, kind: type[int] | type[float] = float) -> bool:
    """Tell whether a value of a YAML file is a number; a boolean is not."""
    return isinstance(value, (int, kind)) and not isinstance(value, bool)


@registry.register_processor("blip2_image_train")
@dataclass
class Blip2ImageTrainProcessor(_ImageProcessor):
    """A random crop resized to a square: 50 to 100 % of the area by default (upstream's values)."""

    registered_name: ClassVar[str] = "blip2_image_train"
    min_scale: float = 0.5
    max_scale: float = 1.0

    def __post_init__(self) -> None:
        for key in ("min_scale", "max_scale"):
            self._require(_is_number(getattr(self, key)), key, "it must be a number")
        self._require(
            0 < self.min_scale <= self.max_scale,
            "min_scale",
            f"it must lie above 0 and not above max_scale, {self.max_scale!r}",
        )
        super().__post_init__()

    def _to_square(self) -> torch.nn.Module:
        return transforms.RandomResizedCrop(
            self.image_size,
            scale=(self.min_scale, self.max_scale),
            interpolation=InterpolationMode.BICUBIC,
        )


@registry.register_processor("blip2_image_eval")
@dataclass
class Blip2ImageEvalProcessor(_ImageProcessor):
    """The whole image resized to a square, whatever its aspect ratio (as upstream)."""

    registered_name: ClassVar[str] = "blip2_image_eval"

    def _to_square(self) -> torch.nn.Module:
        size = (self.image_size, self.image_size)
        return transforms.Resize(size, interpolation=InterpolationMode.BICUBIC)


@registry.register_processor("blip_caption")
@dataclass
class BlipCaptionProcessor(Processor):
    """Lower-case words without punctuation, cut to `max_words`, after an optional `prompt`."""

    registered_name: ClassVar[str] = "blip_caption"
    prompt: str = ""
    max_words: int = 50

    def __post_init__(self) -> None:
        self._require(isinstance(self.prompt, str), "prompt", "it must be text")
        self._require(
            _is_number(self.max_words, int) and self.max_words > 0,
            "max_words",
            "it must be a positive whole number",
        )

    def __call__(self, caption: str) -> str:
        """Clean one caption, for example ``"A rash (arm)."`` to ``"a rash arm"``."""
        # Upstream's order of steps, spaces at the ends included: captions must tokenise alike.
        words = re.sub(r"\s{2,}", " ", caption.lower().translate(PUNCTUATION))
        words = words.rstrip("\n").strip(" ")
        return self.prompt + " ".join(words.split(" ")[: self.max_words])
