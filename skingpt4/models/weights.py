"""Filling the model from weight files: first account for every key, then read.

Accounting compares names and shapes only, so it works for a model on the meta device and reads no
tensor. Filling then gives each tensor its value straight from the file's mapping, in the type and
on the device where it will stay.
"""

import functools
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from timm.models.eva import Eva
from torch import Tensor, nn

from skingpt4.common.checkpoint import Tensors, TensorSource, open_tensors
from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.key_maps import (
    LLM_PREFIX,
    PROJECTION_PREFIX,
    QFORMER_PREFIXES,
    VISION_PREFIX,
    Piece,
    Translation,
    to_lavis_key,
    translate,
    translate_eva,
)
from skingpt4.models.vision import fit_position_embedding, positions_fit

__all__ = [
    "RANDOM",
    "Findings",
    "Sources",
    "assign",
    "check_sources",
    "checkpoint_findings",
    "load_sources",
    "open_sources",
    "projection_width",
    "qformer_findings",
    "to_lavis_key",
    "vision_findings",
]

logger = logging.getLogger(__name__)

# In place of a weight file: the part is drawn at random.
RANDOM = "random"

OTHER_PARTS = "parts that another file gives"
_PARTS = (VISION_PREFIX, *QFORMER_PREFIXES, PROJECTION_PREFIX, LLM_PREFIX)


@dataclass(frozen=True)
class Findings:
    """How a file's names and shapes compare with what it is to fill.

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
        """Tell whether the file fits."""
        return not (self.missing or self.unexpected or self.mis_shaped)

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
class Sources:
    """The opened weight files of a config; ``None`` for a part without one.

    Attributes:
        checkpoint: Of ``llama_proj`` at least; what else it holds goes before the other files.
        vision: Of the vision tower.
        qformer: Of the Q-Former, its queries and ``ln_vision``; not read without a Q-Former.
    """

    checkpoint: TensorSource | None
    vision: TensorSource | None
    qformer: TensorSource | None


@dataclass(frozen=True)
class _Fit:
    """A file laid against what it is to fill.

    Attributes:
        module: Owns the tensors.
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
        """Compare names and shapes."""
        own = {name: tuple(value.shape) for name, value in self.module.state_dict().items()}
        given = {piece.target for piece in self.translation.pieces}
        known = [piece for piece in self.translation.pieces if piece.target in own]
        shaped = [(p.target, p.shape(self.shapes[p.key]), own[p.target]) for p in known]
        return Findings(
            missing=[k for k in own if k.startswith(self.required) and k not in given],
            unexpected=[p.key for p in self.translation.pieces if p.target not in own],
            mis_shaped=[
                f"{name} {_by(stored)} for {_by(wanted)}"
                for name, stored, wanted in shaped
                if not _shape_fits(name, stored, wanted)
            ],
            ignored=dict(self.translation.ignored),
        )

    @torch.no_grad()
    def fill(self, device: torch.device) -> None:
        """Read what is needed; existing tensors are changed in place, others placed on ``device``.

        A tensor that needs no other type or place stays shared with the file's mapping.
        """
        own = self.module.state_dict()
        fresh: Tensors = {}
        for piece in self.translation.pieces:
            old = own[piece.target]
            if old.is_meta:
                fresh[piece.target] = self._read(piece, old).to(device, old.dtype)
            elif self.replaces:
                old.copy_(self._read(piece, old))
        self.module.load_state_dict(fresh, strict=False, assign=True)
        self._log()

    def _read(self, piece: Piece, old: Tensor) -> Tensor:
        value = piece.cut(self.tensors[piece.key])
        return fit_position_embedding(value, old.shape) if _is_positions(piece.target) else value

    def _log(self) -> None:
        ignored = [f"{rule}: {count}" for rule, count in self.translation.ignored.items()]
        left_out = f"; left out {', '.join(ignored)}" if ignored else ""
        logger.info("%s: %d tensors%s", self.path, len(self.translation.pieces), left_out)


def open_sources(config: ModelConfig) -> Sources:
    """Open the files that a config names; one that is named twice is opened once.

    Raises:
        ConfigError: If a part has no file named.
        WeightsError: If a file is missing, damaged or no weight file.
    """
    own = {"vit_weights": config.vit_weights}
    if config.has_qformer:
        own["q_former_model"] = config.q_former_model
    for key, name in own.items():
        if not name:
            raise ConfigError(
                f"model.{key} is empty; name a weight file, or '{RANDOM}' for an untrained part."
            )
    opened = functools.cache(lambda name: open_tensors(resolve(name)))
    names = (config.ckpt, config.vit_weights, own.get("q_former_model", ""))
    return Sources(*(None if name in ("", RANDOM) else opened(name) for name in names))


def vision_findings(tower: Eva, source: TensorSource) -> Findings:
    """Compare a vision tower with an EVA file, a LAVIS file or a BLIP-2 folder."""
    return _vision_fit(tower, source).findings()


def qformer_findings(model: nn.Module, source: TensorSource) -> Findings:
    """Compare ``Qformer``, ``query_tokens`` and ``ln_vision`` with a LAVIS file or BLIP-2 folder.

    Such a file may carry a vision tower too; the tower's own file has the say, so it is left out.
    """
    return _qformer_fit(model, source).findings()


def checkpoint_findings(model: nn.Module, source: TensorSource) -> Findings:
    """Compare the model with a checkpoint, ours or upstream's, or with a BLIP-2 folder."""
    return _checkpoint_fit(model, source).findings()


def projection_width(source: TensorSource) -> int | None:
    """Return the width of the language model that a checkpoint's projection was made for."""
    for piece in translate(source).pieces:
        shape = source.shapes[piece.key]
        if piece.target == f"{PROJECTION_PREFIX}weight" and len(shape) == 2:
            return shape[0]
    return None


def check_sources(model: nn.Module, sources: Sources) -> None:
    """Compare every file with the model, which may be on the meta device.

    Raises:
        WeightsError: Listing what a file lacks, what is unknown in it or of another shape.
    """
    for fit in _fits(model, sources):
        _refuse(fit)


def load_sources(model: nn.Module, sources: Sources, device: torch.device) -> None:
    """Fill the model: from the checkpoint first, then the parts' own files give what is left.

    So nothing is read that the checkpoint replaces.

    Args:
        model: What :func:`check_sources` has compared with the files.
        sources: Where to read.
        device: Where tensors go that are on the meta device.
    """
    for fit in _fits(model, sources):
        fit.fill(device)


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
    fit = _Fit(module, tensors, shapes, same_names, tuple(required), path, replaces=True)
    _refuse(fit)
    fit.fill(torch.device("cpu"))


def _fits(model: nn.Module, sources: Sources) -> list[_Fit]:
    """Lay each file against its part, the checkpoint first."""
    fits = []
    if sources.checkpoint:
        fits.append(_checkpoint_fit(model, sources.checkpoint))
    if sources.vision:
        fits.append(_vision_fit(cast(Eva, model.visual_encoder), sources.vision))
    if sources.qformer:
        fits.append(_qformer_fit(model, sources.qformer))
    return fits


def _checkpoint_fit(model: nn.Module, source: TensorSource) -> _Fit:
    required = (PROJECTION_PREFIX,)
    translation = translate(source)
    return _Fit(model, source, source.shapes, translation, required, source.path, replaces=True)


def _qformer_fit(model: nn.Module, source: TensorSource) -> _Fit:
    parts = QFORMER_PREFIXES
    translation = _only(translate(source), parts)
    return _Fit(model, source, source.shapes, translation, parts, source.path, replaces=False)


def _vision_fit(tower: Eva, source: TensorSource) -> _Fit:
    """Lay a file against the tower, whose names have no prefix of their own."""
    if "cls_token" in source.shapes:
        translation = translate_eva(source, depth=len(tower.blocks))
    else:
        translation = _only(translate(source), (VISION_PREFIX,))
    own = [replace(p, target=p.target.removeprefix(VISION_PREFIX)) for p in translation.pieces]
    translation = Translation(own, translation.ignored)
    return _Fit(tower, source, source.shapes, translation, ("",), source.path, replaces=False)


def _only(translation: Translation, prefixes: tuple[str, ...]) -> Translation:
    """Leave out other parts that are known; what is unknown stays, to be found."""
    known = {p for p in translation.pieces if p.target.startswith(_PARTS)}
    others = {p for p in known if not p.target.startswith(prefixes)}
    kept = [p for p in translation.pieces if p not in others]
    return Translation(kept, translation.ignored + Counter({OTHER_PARTS: len(others)}))


def _shape_fits(name: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return stored == wanted or (_is_positions(name) and positions_fit(stored, wanted))


def _is_positions(name: str) -> bool:
    return name.rpartition(".")[2] == "pos_embed"


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)


def _refuse(fit: _Fit) -> None:
    findings = fit.findings()
    if not findings.ok:
        raise WeightsError(
            f"The weight file '{fit.path}' does not fit this model: {findings} tensors; "
            "check that the file and the model's section name the same parts and LLM."
        )
