"""What a checkpoint records about the parts it was trained with, compared with the parts at hand.

A projection fits one language model, one Q-Former, the vision tower before it and one written form
of the prompt; with any other it silently gives nonsense. Files of others record nothing and are
compared by width alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from skingpt4.common.downloads import resolve
from skingpt4.models.gguf import GGUF_ENGINE, gguf_embeddings
from skingpt4.models.random_llm import is_random
from skingpt4.models.vision import AbsentTower, telling_weight

if TYPE_CHECKING:
    from skingpt4.common.schema import ModelConfig
    from skingpt4.models.skin_gpt4 import SkinGPT4

LLM, QFORMER, VISION, PROMPT = "llm", "qformer", "vision", "prompt"
SUBJECTS = {
    LLM: "language model",
    QFORMER: "Q-Former",
    VISION: "vision tower",
    PROMPT: "prompt form",
}

# Weights are told apart by a few of their values and not by a digest, because the same folder is
# loaded in float32, float16 or bfloat16. Rounding to the last moves a value by at most 2^-8 of
# itself (2^-9 on either side); float16 loses up to 6e-8 of a tiny one.
SAMPLE_SIZE = 64
RELATIVE_TOLERANCE = 2**-8
ABSOLUTE_TOLERANCE = 1e-7

# The first rows of an embedding are a vocabulary's frequent pieces, which any fine-tuning moves.
FREQUENT_ROWS = 1024

# What identifies one language model: class, width and number of its token embeddings.
LLM_FIGURES = ("architecture", "width", "vocabulary")

PartsRecord = Mapping[str, Any]


def sample(tensor: Tensor) -> list[float] | None:
    """Return some of a tensor's values, evenly spread; ``None`` on the meta device."""
    if tensor.is_meta:
        return None
    # float64, because float32 cannot count the numbers of a large table exactly.
    places = torch.linspace(0, tensor.numel() - 1, SAMPLE_SIZE, dtype=torch.float64).long()
    values = tensor.detach().flatten()[places.to(tensor.device)].float()
    # Six digits are as many as a rounded value can tell, and keep the record short.
    return [float(f"{value:.6g}") for value in values.tolist()]


def describe_parts(model: "SkinGPT4", embeddings: Tensor | None = None) -> dict[str, Any]:
    """Return what a checkpoint of this model records about the parts it belongs to.

    Args:
        model: May be on the meta device; what has no numbers is then recorded as ``None``.
        embeddings: The language model's token embeddings ``[vocabulary, D]``, where the model has
            not loaded them.

    Returns:
        Plain data: ``llm`` (its name is for messages and not compared), ``qformer``, ``prompt``,
        ``vision``.
    """
    config, style = model.config, model.prompt_style
    table = cast(nn.Embedding, model.llm_model.get_input_embeddings()).weight  # [vocabulary, D]
    vocabulary, width = table.shape
    rows: Any = table if embeddings is None else embeddings
    if config.engine == GGUF_ENGINE:
        # Quantised rows differ from those trained with; the file tells what they were before.
        rows = gguf_embeddings(resolve(config.llm_model))
    elif config.freeze_llm and is_random(config.llm_model):
        rows = None  # random numbers that stay random tell nothing
    if isinstance(rows, np.ndarray):
        rows = torch.from_numpy(rows[:FREQUENT_ROWS].copy())
    llm = {
        "name": Path(config.llm_model).name,
        "architecture": type(model.llm_model).__name__,
        "width": width,
        "vocabulary": vocabulary,
        "embeddings": sample(rows[:FREQUENT_ROWS]) if isinstance(rows, Tensor) else rows,
    }
    qformer: dict[str, Any] = {"shape": "", "queries": 0, "values": None}
    if config.has_qformer:
        qformer |= {"shape": config.qformer, "queries": config.num_query_token}
        if not (config.freeze_qformer and SUBJECTS[QFORMER] in model.untrained):
            # The queries and the last layer's weights: what any training of a Q-Former moves.
            last = model.Qformer.config.num_hidden_layers - 1
            dense = model.Qformer.get_parameter(f"encoder.layer.{last}.output_query.dense.weight")
            queries, weights = sample(model.query_tokens), sample(dense)
            qformer["values"] = queries + weights if queries and weights else None
    prompt = {"style": style.name, "template": style.template, "end_sym": style.end_sym}
    tower, values = cast(nn.Module, model.visual_encoder), None
    if isinstance(tower, AbsentTower):
        values = tower.values
    elif not (config.freeze_vit and SUBJECTS[VISION] in model.untrained):
        trunk = model.visual_encoder.trunk
        values = sample(trunk.get_parameter(telling_weight(trunk)))
    vision = {"model": config.vit_model, "values": values}
    return {LLM: llm, QFORMER: qformer, PROMPT: prompt, VISION: vision}


def differences(
    trained: PartsRecord,
    present: PartsRecord,
    config: "ModelConfig",
    path: str | Path,
    width: int | None = None,
) -> list[str]:
    """Return a sentence for each part that is not the one a checkpoint was trained with.

    What either side does not know is not compared.

    Args:
        trained: What the checkpoint records.
        present: What :func:`describe_parts` says of the model at hand.
        config: Its section, for names in messages.
        path: The checkpoint.
        width: Of the language model that the checkpoint's projection was made for; compared where
            the record finds no fault.
    """
    start, sentences = f"The checkpoint '{path}' was trained with", list[str]()
    theirs, ours = _in_words(trained), _in_words(present)
    belong = "name the language model and the checkpoint that belong together."
    if LLM in trained:
        difference, then, now = "", trained[LLM], present[LLM]
        if any(then[figure] != now[figure] for figure in LLM_FIGURES):
            difference = f"is {ours[LLM]}"
        elif not _alike(then["embeddings"], now["embeddings"]):
            # Fine-tuned, or another model of the same shape.
            difference = f"'{now['name']}' has other token embeddings"
        if difference:
            sentences.append(
                f"{start} the language model {theirs[LLM]}, but model.llm_model {difference}; "
                f"{belong}"
            )
    for part, file in ((QFORMER, config.q_former_model), (VISION, config.vit_weights)):
        if part not in trained:
            continue
        difference = "" if ours[part] == theirs[part] else ours[part]
        if not difference and not _alike(trained[part]["values"], present[part]["values"]):
            difference = f"'{file}', which has other weights"
        if difference:
            sentences.append(
                f"{start} {theirs[part]}, but the config has {difference}; name the "
                f"{SUBJECTS[part]} and the checkpoint that belong together."
            )
    if PROMPT in trained and trained[PROMPT] != present[PROMPT]:
        sentences.append(
            f"{start} the {theirs[PROMPT]}, but the config has the {ours[PROMPT]}; set "
            "model.prompt_style, model.prompt_template and model.end_sym to those."
        )
    # Upstream's files record nothing: the projection's shape is all that tells.
    if not sentences and width not in (None, present[LLM]["width"]):
        sentences.append(
            f"{start} a language model {width} wide, but model.llm_model is {ours[LLM]}; {belong}"
        )
    return sentences


def unverifiable(record: PartsRecord) -> list[str]:
    """Return what a checkpoint does not say about the parts it was trained with."""
    # Checkpoints from before there was another tower than EVA's record none, and need not.
    wanted = SUBJECTS.keys() - record.keys() - {VISION}
    return [subject for key, subject in SUBJECTS.items() if key in wanted]


def _in_words(record: PartsRecord) -> dict[str, str]:
    """Name the parts of a record as sentences do."""
    words = {}
    if llm := record.get(LLM):
        shape = f"{llm['architecture']}, {llm['width']} wide, {llm['vocabulary']} tokens"
        words[LLM] = f"'{llm['name']}' ({shape})"
    if qformer := record.get(QFORMER):
        named = f"the Q-Former '{qformer['shape']}' with {qformer['queries']} queries"
        words[QFORMER] = named if qformer["shape"] else "no Q-Former"
    if vision := record.get(VISION):
        words[VISION] = f"the vision tower '{vision['model']}'"
    if form := record.get(PROMPT):
        written = f"(template '{form['template']}', end symbol '{form['end_sym']}')"
        words[PROMPT] = f"prompt style '{form['style']}' {written}"
    return words


def _alike(stored: Sequence[float] | None, present: Sequence[float] | None) -> bool:
    """Tell whether two samples are of the same weights, perhaps rounded to another type."""
    if stored is None or present is None:
        return True
    left, right = torch.tensor(stored), torch.tensor(present)
    return left.shape == right.shape and torch.allclose(
        left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
    )
