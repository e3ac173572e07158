"""Names in published weight files, mapped to ours; each name left out falls under a named rule.

Our names are those of the LAVIS / MiniGPT-4 lineage with timm's and transformers' parts:
``visual_encoder.*``, ``ln_vision.*``, ``Qformer.*``, ``query_tokens``, ``llama_proj.*``,
``llm_model.*``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

VISION_PREFIX = "visual_encoder."
QFORMER_PREFIXES = ("Qformer.", "query_tokens", "ln_vision.")
PROJECTION_PREFIX = "llama_proj."
LLM_PREFIX = "llm_model."

Rules = Mapping[str, re.Pattern[str]]

# EVA's file has one block more than BLIP-2 uses, and what follows the blocks.
EVA_RULES: Rules = {"final norm and head": re.compile(r"^(norm|fc_norm|head)\.")}
BEYOND_DEPTH = "blocks beyond the tower's depth"

# What timm's towers end with, which features do without.
TIMM_RULES: Rules = {
    "pooling and head": re.compile(r"^(attn_pool|classifier|fc|fc_norm|head|head_dist)\."),
    "mask tokens of the pre-training": re.compile(r"^mask_token$"),
}

LAVIS_RULES: Rules = {
    "text path of the Q-Former": re.compile(
        r"^Qformer\.(cls\.|bert\.embeddings\.(word|position)_|bert\.pooler\.)"
        r"|^Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\."
    ),
    "projections and heads of other models": re.compile(
        r"^(t5|opt|vision|text)_proj\.|^itm_head\.|^temp$"
    ),
    "stray buffers": re.compile(r"position_ids$|rotary_emb\.inv_freq$"),
}

BLIP2_RULES: Rules = {
    "text path of the Q-Former": re.compile(
        r"^qformer\.encoder\.layer\.\d+\.(intermediate|output)\.|^(qformer\.)?embeddings\."
    ),
    "language model, which has a folder of its own": re.compile(r"^language_model\."),
    "stray buffers": re.compile(r"position_ids$|rotary_emb\.inv_freq$"),
}
_BLIP2_MARK = re.compile(r"^(vision_model|qformer|language_projection)\.")
_BLIP2_NAMES = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual_encoder.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding$", "visual_encoder.pos_embed"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual_encoder.patch_embed.proj."),
    (r"^vision_model\.encoder\.layers\.", "visual_encoder.blocks."),
    (r"^vision_model\.post_layernorm\.", "ln_vision."),
    (r"^(visual_encoder\.blocks\.\d+)\.self_attn\.projection\.", r"\1.attn.proj."),
    (r"^(visual_encoder\.blocks\.\d+)\.self_attn\.", r"\1.attn."),
    (r"^(visual_encoder\.blocks\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
    (r"^qformer\.", "Qformer."),
    (r"^language_projection\.", PROJECTION_PREFIX),
)


@dataclass(frozen=True)
class Piece:
    """Where one of our tensors stands in a file.

    Attributes:
        target: Our name.
        key: The file's name.
        third: Which third of the stored first axis is meant; ``None`` for all of it.
    """

    target: str
    key: str
    third: int | None = None

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the piece's shape, given the stored tensor's."""
        if self.third is None:
            return stored
        return (*(size // 3 for size in stored[:1]), *stored[1:])

    def cut(self, stored: Tensor) -> Tensor:
        """Return the piece of the stored tensor."""
        return stored if self.third is None else stored.chunk(3)[self.third]


@dataclass
class Translation:
    """A file's names in our terms.

    Attributes:
        pieces: Each of our tensors that the file holds, or claims to hold.
        ignored: How many names each rule left out.
    """

    pieces: list[Piece] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def translate(keys: Iterable[str]) -> Translation:
    """Translate a LAVIS, MiniGPT-4, SkinGPT-4 or Hugging Face BLIP-2 file's names."""
    names = list(keys)
    # A BLIP-2 folder's names alone begin so; all other published files share LAVIS's.
    if any(_BLIP2_MARK.match(name) for name in names):
        return _apply(names, BLIP2_RULES, _blip2_pieces)
    return _apply(names, LAVIS_RULES, lambda key: [Piece(_from_lavis(key), key)])


def translate_eva(keys: Iterable[str], depth: int) -> Translation:
    """Translate the names of a file that holds a vision tower alone."""
    translation = _apply(keys, EVA_RULES, lambda key: [Piece(VISION_PREFIX + key, key)])
    block = re.compile(r"visual_encoder\.blocks\.(\d+)\.")
    kept = [
        piece
        for piece in translation.pieces
        if not (found := block.match(piece.target)) or int(found.group(1)) < depth
    ]
    beyond = Counter({BEYOND_DEPTH: len(translation.pieces) - len(kept)})
    return Translation(kept, translation.ignored + beyond)


def translate_timm(keys: Iterable[str]) -> Translation:
    """Translate timm's names of a tower's tensors: they are its own."""
    return _apply(keys, TIMM_RULES, lambda key: [Piece(key, key)])


def to_lavis_key(key: str) -> str:
    """Map our name to the LAVIS form."""
    key = key.replace("Qformer.layernorm.", "Qformer.bert.embeddings.LayerNorm.")
    key = re.sub(r"^Qformer\.encoder\.", "Qformer.bert.encoder.", key)
    return re.sub(r"\.(attention|crossattention)\.attention\.", r".\1.self.", key)


def _apply(
    keys: Iterable[str], rules: Rules, pieces_of: Callable[[str], list[Piece]]
) -> Translation:
    translation = Translation()
    for key in keys:
        rule = next((name for name, pattern in rules.items() if pattern.search(key)), None)
        if rule is None:
            translation.pieces += pieces_of(key)
        else:
            translation.ignored[rule] += 1
    return translation


def _from_lavis(key: str) -> str:
    key = key.replace("Qformer.bert.embeddings.LayerNorm.", "Qformer.layernorm.")
    key = key.replace("Qformer.bert.", "Qformer.")
    if key.startswith("Qformer."):
        key = re.sub(r"\.(attention|crossattention)\.self\.", r".\1.attention.", key)
    return key


def _blip2_pieces(key: str) -> list[Piece]:
    """Return one piece, or two for the joint bias of query, key and value.

    Its key third is left out: it shifts all scores of a query alike, which softmax undoes.
    """
    target = key
    for pattern, replacement in _BLIP2_NAMES:
        target = re.sub(pattern, replacement, target)
    if target.startswith(VISION_PREFIX) and target.endswith(".attn.qkv.bias"):
        stem = target.removesuffix("qkv.bias")
        return [Piece(stem + "q_bias", key, third=0), Piece(stem + "v_bias", key, third=2)]
    return [Piece(target, key)]
