"""Filling the model from weight files: first account for every key, then read.

Accounting compares names and shapes only, so it works for a model on the meta device and reads no
tensor. Filling then gives each tensor its value straight from the file's mapping, in the type and
on the device where it will stay.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from skingpt4.common.checkpoint import Tensors, TensorSource, open_tensors
from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.files import sha256_of
from skingpt4.common.schema import ModelConfig
from skingpt4.models.key_maps import (
    LLM_PREFIX,
    PROJECTION_PREFIX,
    QFORMER_PREFIXES,
    VISION_PREFIX,
    Piece,
    Translation,
    translate,
    translate_eva,
    translate_timm,
)
from skingpt4.models.vision import (
    TimmTower,
    fit_position_embedding,
    positions_fit,
    timm_tensors,
)

logger = logging.getLogger(__name__)

# In place of a weight file: the part is drawn at random.
RANDOM = "random"

# The config's keys that name weight files, in the order of reading: what the checkpoint holds goes
# before the parts' own files.
CHECKPOINT, VISION, QFORMER = "ckpt", "vit_weights", "q_former_model"

OTHER_PARTS = "parts that another file gives"
_PARTS = (VISION_PREFIX, *QFORMER_PREFIXES, PROJECTION_PREFIX, LLM_PREFIX)


@dataclass(frozen=True)
class Findings:
    """How a file's names and shapes compare with the part that it fills.

    Attributes:
        missing: Tensors of ours that must be in the file and are not.
        unexpected: Names in the file that mean nothing to us.
        mis_shaped: Tensors of another shape, each with the file's shape and ours.
        ignored: How many names each rule left out.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mis_shaped: list[str] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the file fits."""
        return not (self.missing or self.unexpected or self.mis_shaped)

    @property
    def left_out(self) -> str:
        """What to add to a sentence about the file; empty where nothing was left out."""
        rules = [f"{rule}: {count}" for rule, count in self.ignored.items()]
        return f"; left out {', '.join(rules)}" if rules else ""

    def __str__(self) -> str:
        """List what does not fit."""
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "mis-shaped": self.mis_shaped,
        }
        return "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''})"
            for kind, keys in kinds.items()
            if keys
        )


@dataclass(frozen=True)
class FileFit:
    """A file laid against the part that it fills.

    Attributes:
        module: Owns the tensors; may be on the meta device.
        tensors: The file's.
        shapes: The file's, known without reading it.
        translation: The file's names in the module's terms.
        required: Prefixes of the module's tensors that must all be in the file.
        path: The file, for messages.
        replaces: Give values to tensors that have some already, too.
    """

    module: nn.Module
    tensors: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    translation: Translation
    required: tuple[str, ...]
    path: str | Path
    replaces: bool

    def findings(self) -> Findings:
        """Compare names and shapes; reads no tensor."""
        # timm's and transformers' own buffers are in no state dict, and so in no file.
        own = {name: tuple(value.shape) for name, value in self.module.state_dict().items()}
        given = {piece.target for piece in self.translation.pieces}
        mis_shaped = []
        for piece in self.translation.pieces:
            stored, wanted = piece.shape(self.shapes[piece.key]), own.get(piece.target)
            if wanted is None or stored == wanted:
                continue
            # The positions of another image size are resized when they are read.
            if not (piece.target.endswith("pos_embed") and positions_fit(stored, wanted)):
                sizes = ("x".join(map(str, shape)) for shape in (stored, wanted))
                mis_shaped.append(f"{piece.target} {' for '.join(sizes)}")
        return Findings(
            missing=[k for k in own if k.startswith(self.required) and k not in given],
            unexpected=[p.key for p in self.translation.pieces if p.target not in own],
            mis_shaped=mis_shaped,
            ignored=dict(self.translation.ignored),
        )

    def check(self) -> Findings:
        """Refuse a file that does not fit; return what was found.

        Raises:
            WeightsError: Listing what the file lacks, what is unknown in it or of another shape.
        """
        findings = self.findings()
        if not findings.ok:
            raise WeightsError(
                f"The weight file '{self.path}' does not fit this model: {findings} tensors; "
                "check that the file and the model's section name the same parts and LLM."
            )
        return findings

    def value(self, target: str) -> Tensor | None:
        """Read one tensor by its name in the module; None if the file does not have it."""
        piece = next((p for p in self.translation.pieces if p.target == target), None)
        return None if piece is None else piece.cut(self.tensors[piece.key])

    @torch.no_grad()
    def fill(self, device: torch.device) -> None:
        """Read what is needed; existing tensors are changed in place, others put on ``device``.

        A tensor that needs no other type or place stays shared with the file's mapping. The file
        must have passed :meth:`check`.
        """
        own = self.module.state_dict()
        fresh: Tensors = {}
        for piece in self.translation.pieces:
            old = own[piece.target]  # shares memory with the module's tensor
            if not (old.is_meta or self.replaces):
                continue  # the checkpoint has filled it: nothing is read that it replaces
            value = piece.cut(self.tensors[piece.key])
            if piece.target.endswith("pos_embed"):
                value = fit_position_embedding(value, old.shape)
            if old.is_meta:
                fresh[piece.target] = value.to(device, old.dtype)
            else:
                old.copy_(value)
        # Assigned, not copied: a meta tensor has no memory to copy into.
        self.module.load_state_dict(fresh, strict=False, assign=True)
        count, left_out = len(self.translation.pieces), self.findings().left_out
        logger.info("%s: %d tensors%s", self.path, count, left_out)


def open_sources(
    config: ModelConfig, keys: Iterable[str] = (CHECKPOINT, VISION, QFORMER)
) -> dict[str, TensorSource]:
    """Open the files that keys of the config name; one that is named twice is opened once.

    Args:
        config: The settled ``model`` section.
        keys: In the order of reading; without a Q-Former its file is not opened.

    Returns:
        By key; an untrained part and a checkpoint that is not named have none.

    Raises:
        ConfigError: If a part has no file named.
        WeightsError: If a file is missing, damaged or no weight file.
    """
    opened: dict[str, TensorSource] = {}
    sources: dict[str, TensorSource] = {}
    for key in keys:
        name = getattr(config, key)
        if key == QFORMER and not config.has_qformer:
            continue
        if not name and key != CHECKPOINT:
            raise ConfigError(
                f"model.{key} is empty; name a weight file, or '{RANDOM}' for an untrained part."
            )
        if name not in ("", RANDOM):
            sources[key] = opened[name] = opened.get(name) or open_tensors(resolve(name))
    return sources


def lay(model: nn.Module, key: str, source: TensorSource) -> FileFit:
    """Lay a file against the part that it fills.

    Args:
        model: The whole model.
        key: That of the config which names the file. A checkpoint, ours, upstream's or a BLIP-2
            folder, fills what it holds, the projection at least; an EVA file, a LAVIS file or a
            BLIP-2 folder fills the vision tower; the last two fill ``Qformer``, ``query_tokens``
            and ``ln_vision``.
        source: The file, opened.
    """
    own: tuple[str, ...] = QFORMER_PREFIXES
    module, translation = model, translate(source)  # names only: nothing is read
    if key == CHECKPOINT:
        required = (PROJECTION_PREFIX,)
        return FileFit(
            module, source, source.shapes, translation, required, source.path, replaces=True
        )
    if key == VISION:
        # Laid against the tower itself, whose names have no prefix, as in an EVA file.
        module, own = model.get_submodule("visual_encoder"), (VISION_PREFIX,)
    is_ours = any(piece.target.startswith(VISION_PREFIX) for piece in translation.pieces)
    if isinstance(module, TimmTower) and not is_ours:
        tensors = timm_tensors(module.trunk, source, source.path)
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        translation, path = translate_timm(shapes), source.path
        return FileFit(module.trunk, tensors, shapes, translation, ("",), path, replaces=False)
    if key == VISION and "cls_token" in source.shapes:
        blocks = model.get_submodule("visual_encoder.blocks")
        translation = translate_eva(source, depth=len(list(blocks.children())))
    # A file may carry other parts too, whose own files have the say: they are left out. What is no
    # known part stays, to be found.
    kept = [
        piece
        for piece in translation.pieces
        if piece.target.startswith(own) or not piece.target.startswith(_PARTS)
    ]
    ignored = translation.ignored + Counter({OTHER_PARTS: len(translation.pieces) - len(kept)})
    if key == VISION:
        kept = [replace(p, target=p.target.removeprefix(VISION_PREFIX)) for p in kept]
        own = ("",)
    translation = Translation(kept, ignored)
    return FileFit(module, source, source.shapes, translation, own, source.path, replaces=False)


def assign(
    module: nn.Module, tensors: Tensors, path: str | Path, required: Iterable[str] = ("",)
) -> None:
    """Copy tensors into a module, allowing no unknown key, wrong shape or missing required key.

    Args:
        module: Receives the tensors, in its own dtypes.
        tensors: Values by the module's own names.
        path: The file they came from, for messages.
        required: Name prefixes whose tensors must all be there.

    Raises:
        WeightsError: Listing what is missing, unexpected or mis-shaped.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    same_names = Translation([Piece(name, name) for name in tensors])
    fit = FileFit(module, tensors, shapes, same_names, tuple(required), path, replaces=True)
    fit.check()
    fit.fill(torch.device("cpu"))


def weight_hashes(config: ModelConfig, keys: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of every file that parts are read from.

    Args:
        config: The settled ``model`` section.
        keys: Those of the config that name the parts' files and folders.

    Returns:
        By key, followed by the file's name where it is one of a folder; what is not there, such as
        an untrained part, has none.
    """
    hashes: dict[str, str] = {}
    for key in keys:
        # A folder counts with all that lies in it: its tokenizer is a part of the model, too.
        place = Path(resolve(getattr(config, key) or RANDOM))
        if place.is_dir():
            files = {f"{key}/{path.name}": path for path in sorted(place.iterdir())}
        else:
            files = {key: place}
        hashes |= {name: sha256_of(path) for name, path in files.items() if path.is_file()}
    return hashes
