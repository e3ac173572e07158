"""Key maps between published weight files and our parts; every key is accounted for."""

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from timm.models.eva import Eva
from torch import Tensor, nn

from skingpt4.common.checkpoint import Tensors, read_tensors
from skingpt4.common.errors import WeightsError
from skingpt4.models.vision import fit_position_embedding

logger = logging.getLogger(__name__)

Rename = Callable[[str], str | None]

# Keys of published files that belong to nothing we build, by the reason why.
_TEXT_PATH = re.compile(
    r"^Qformer\.(cls\.|bert\.embeddings\.(word|position)_|bert\.pooler\.)"
    r"|^Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\."
)
_STRAY = re.compile(
    r"position_ids$|rotary_emb\.inv_freq$|^(t5|opt|vision|text)_proj\.|^itm_head\.|^temp$"
)
_ATTENTION = re.compile(r"\.(attention|crossattention)\.self\.")


def rename_lavis_key(key: str) -> str | None:
    """Map a key of a LAVIS, MiniGPT-4 or SkinGPT-4 file to ours; ``None`` if it is not needed.

    Dropped by rule: the Q-Former's text path, other projections, and stray buffers.
    """
    if _TEXT_PATH.search(key) or _STRAY.search(key):
        return None
    key = key.replace("Qformer.bert.embeddings.LayerNorm.", "Qformer.layernorm.")
    key = key.replace("Qformer.bert.", "Qformer.")
    if key.startswith("Qformer."):
        key = _ATTENTION.sub(r".\1.attention.", key)
    return key


def to_lavis_key(key: str) -> str:
    """Map our key to the LAVIS form: the inverse of :func:`rename_lavis_key`."""
    key = key.replace("Qformer.layernorm.", "Qformer.bert.embeddings.LayerNorm.")
    key = re.sub(r"^Qformer\.encoder\.", "Qformer.bert.encoder.", key)
    return re.sub(r"\.(attention|crossattention)\.attention\.", r".\1.self.", key)


def load_vision_weights(tower: Eva, path: str) -> None:
    """Fill the vision tower from an EVA file.

    Dropped by rule: blocks beyond the tower's depth, the final norm and the head.

    Raises:
        WeightsError: If the file lacks a tensor, has an unknown one, or a shape differs.
    """
    depth = len(tower.blocks)

    def rename(key: str) -> str | None:
        block = re.match(r"blocks\.(\d+)\.", key)
        beyond = block is not None and int(block.group(1)) >= depth
        return None if beyond or key.startswith(("norm.", "fc_norm.", "head.")) else key

    tensors = _renamed(read_tensors(path), rename)
    if "pos_embed" in tensors and tensors["pos_embed"].shape[-1] == tower.embed_dim:
        tensors["pos_embed"] = fit_position_embedding(tower, tensors["pos_embed"])
    assign(tower, tensors, path)


def load_qformer_weights(model: nn.Module, path: str) -> None:
    """Fill ``Qformer``, ``query_tokens`` and ``ln_vision`` from a LAVIS file.

    Such a file may carry a vision tower too; the tower's own file has the say, so it is left.

    Raises:
        WeightsError: If the file lacks a tensor, has an unknown one, or a shape differs.
    """

    def rename(key: str) -> str | None:
        return None if key.startswith("visual_encoder.") else rename_lavis_key(key)

    tensors = _renamed(read_tensors(path), rename)
    assign(model, tensors, path, required=("Qformer.", "query_tokens", "ln_vision."))


def load_checkpoint(model: nn.Module, path: str) -> None:
    """Lay a trained checkpoint over the model; ``llama_proj`` must be in it.

    Raises:
        WeightsError: If the projection is missing, or any key or shape does not fit.
    """
    tensors = _renamed(read_tensors(path), rename_lavis_key)
    assign(model, tensors, path, required=("llama_proj.",))


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
    own = module.state_dict()
    prefixes = tuple(required)
    findings = {
        "missing": [key for key in own if key.startswith(prefixes) and key not in tensors],
        "unexpected": [key for key in tensors if key not in own],
        "mis-shaped": [
            f"{key} {_shape(value)} for {_shape(own[key])}"
            for key, value in tensors.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    _refuse(findings, path)
    module.load_state_dict(tensors, strict=False)
    logger.info("Loaded %d tensors from %s", len(tensors), path)


def _renamed(tensors: Tensors, rename: Rename) -> Tensors:
    named = ((rename(key), value) for key, value in tensors.items())
    return {key: value for key, value in named if key is not None}


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape)


def _refuse(findings: dict[str, list[str]], path: str | Path) -> None:
    parts = [
        f"{len(keys)} {kind} ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''})"
        for kind, keys in findings.items()
        if keys
    ]
    if parts:
        raise WeightsError(
            f"The weight file '{path}' does not fit this model: {'; '.join(parts)} tensors; "
            "check that the file and the model's section name the same parts and LLM."
        )
