"""``--check``: what a run needs, what is there and what fits, told before any weight is read.

Files are opened for their names and shapes alone and compared with the model's skeleton on the
meta device. A language model that is missing but published is stood for by its shape, so that the
memory plan and the projection's width can be told all the same.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import is_bitsandbytes_available

from skingpt4.check.data import DataReport, check_data
from skingpt4.check.memory import free_gigabytes, kv_cache_gigabytes, memory_plan
from skingpt4.check.published import published
from skingpt4.check.report import MISSING, NOTE, OK, PLANNED_TOKENS, WRONG, Finding, Report
from skingpt4.common.checkpoint import open_tensors
from skingpt4.common.config import Config
from skingpt4.common.downloads import is_remote
from skingpt4.common.errors import UserError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.compatibility import unverifiable
from skingpt4.models.device import Placement, choose_placement
from skingpt4.models.external_llm import check_engine, is_external
from skingpt4.models.gguf import is_gguf
from skingpt4.models.llm import load_tokenizer
from skingpt4.models.loading import check_keys, check_record
from skingpt4.models.random_llm import is_random
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.weights import CHECKPOINT, RANDOM, Findings, open_sources
from skingpt4.prompts import get_prompt_style

VISION, QFORMER, PROJECTION = "vision tower", "Q-Former", "projection"

LANGUAGE, TOKENIZER, PROMPT = "language model", "tokenizer", "prompt form"

DEVICE, ENGINE, MEMORY = "device", "engine", "memory"

# Stands for a language model of unknown shape; nothing is compared with it.
UNKNOWN_LLM = "random:tiny"

# How a family's own end symbol is written, as "</s>" or "<|im_end|>".
_SPECIAL = re.compile(r"<\S+>")


def preflight(config: Config, device: str | torch.device, training: bool = False) -> Report:
    """Check everything that a run needs.

    Args:
        config: The settled run.
        device: Where it would run.
        training: Check the data sets too, and plan the optimiser's memory.

    Raises:
        ConfigError: If device and precision contradict each other.
    """
    model = config.model
    placement = choose_placement(model, device)
    language = [*_engine(model), *_language_model(model.llm_model)]
    skeleton, findings = _skeleton(model, placement, is_there=not _fails(language))
    is_there = skeleton is not None and not _fails(language)
    known = is_there or (skeleton is not None and skeleton.config.llm_model != UNKNOWN_LLM)
    tokenizer = skeleton.llm_tokenizer if skeleton is not None and is_there else None
    data = check_data(config, tokenizer) if training else DataReport(list(_untrained(model)), ())
    findings = [
        *_device(placement),
        *findings,
        *_photo_size(config),
        *_vision_tower(model, skeleton),
        *_qformer(model, skeleton),
        *language,
        *_tokenizer(tokenizer, skeleton),
        *_prompt_form(model, tokenizer),
        *_checkpoint(model, skeleton if known else None),
        *data.findings,
    ]
    if skeleton is None or not known:
        return Report(findings, tables=data.tables)
    return replace(_planned(findings, skeleton, placement, training), tables=data.tables)


def _planned(
    findings: Sequence[Finding], skeleton: SkinGPT4, placement: Placement, training: bool
) -> Report:
    """Add the memory plan, and whether it fits."""
    plan = memory_plan(skeleton, placement, training)
    cache = kv_cache_gigabytes(skeleton.llm_model.config, placement.llm_dtype, PLANNED_TOKENS)
    if is_external(skeleton.config) and not is_gguf(skeleton.config.llm_model):
        cache = 0.0  # the server keeps it
    free = free_gigabytes(placement)
    needed = sum(part.gigabytes for part in plan) + cache
    return Report([*findings, _memory(needed, free, placement)], plan, cache, free)


def _fails(findings: Sequence[Finding]) -> bool:
    return any(finding.state in (MISSING, WRONG) for finding in findings)


def _device(placement: Placement) -> Iterator[Finding]:
    device = placement.device
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    spread = ", language model over all GPUs" if placement.device_map else ""
    yield Finding(DEVICE, OK, f"{device}{name}{spread}")
    if placement.quantization and not is_bitsandbytes_available():
        text = f"{placement.quantization} needs bitsandbytes: pip install 'skingpt4[quant]'"
        yield Finding(DEVICE, MISSING, text)
    if placement.quantization and device.type == "cpu":
        yield Finding(
            DEVICE,
            NOTE,
            f"{placement.quantization} is no fast way on a CPU; a GGUF file in llama.cpp "
            "(model.engine=llama_cpp) is several times faster",
        )


def _skeleton(
    model: ModelConfig, placement: Placement, is_there: bool
) -> tuple[SkinGPT4 | None, list[Finding]]:
    """Build the model without weights; a missing language model is stood for by its shape."""
    known = published(model.llm_model)
    stand_in = f"random:{known.llm}" if known and known.llm else UNKNOWN_LLM
    described = model if is_there else replace(model, llm_model=stand_in)
    try:
        return SkinGPT4.skeleton(described, placement.vit_dtype), []
    except UserError as error:
        return None, [Finding("configuration", WRONG, str(error))]


def _engine(model: ModelConfig) -> Iterator[Finding]:
    """Tell what runs the language model, where it is not this process."""
    try:
        check_engine(model)
    except UserError as error:
        yield Finding(ENGINE, WRONG, str(error))
        return
    if is_external(model):
        yield Finding(ENGINE, OK, f"{model.engine} runs the language model")


def _language_model(name: str) -> Iterator[Finding]:
    """Check a language model's folder: its configuration, all its shards, its tokenizer."""
    if is_random(name):
        yield Finding(LANGUAGE, NOTE, f"{name} is untrained")
        return
    place = _place(LANGUAGE, "model.llm_model", name)
    try:
        if place.state == OK and not is_gguf(name):
            open_tensors(name)
        if place.state in (OK, NOTE):
            load_tokenizer(name)
        yield place
    except UserError as error:
        yield Finding(LANGUAGE, WRONG, str(error))


def _tokenizer(
    tokenizer: PreTrainedTokenizerBase | None, skeleton: SkinGPT4 | None
) -> Iterator[Finding]:
    if tokenizer is None or skeleton is None:
        return
    rows = cast(nn.Embedding, skeleton.llm_model.get_input_embeddings()).num_embeddings
    begins = f"begins with {tokenizer.bos_token}" if tokenizer.bos_token else "has no begin token"
    if len(tokenizer) > rows:
        text = f"has {len(tokenizer)} tokens, but the language model embeds only {rows}"
        yield Finding(TOKENIZER, WRONG, f"{text}; they do not belong together")
    else:
        kind = type(tokenizer).__name__
        yield Finding(TOKENIZER, OK, f"{kind}, {len(tokenizer)} tokens, {begins}")


def _prompt_form(
    model: ModelConfig, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[Finding]:
    """Show how a question is written, and doubt a special end symbol that is no token."""
    try:
        style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
    except UserError as error:
        yield Finding(PROMPT, WRONG, str(error))
        return
    human, assistant = style.roles
    form = replace(style, system="", system_sep="").chat([(human, "{}"), (assistant, None)])
    trained = f", trained as {style.template!r}" if style.template else ""
    yield Finding(PROMPT, OK, f"{style.name}: {form!r}{trained}, ends with {style.end_sym!r}")
    if tokenizer is not None and _SPECIAL.fullmatch(style.end_sym):
        count = len(tokenizer(style.end_sym, add_special_tokens=False).input_ids)
        if count > 1:
            text = f"{style.end_sym!r} is no token of this language model ({count} pieces)"
            yield Finding(PROMPT, NOTE, f"{text}; is model.prompt_style the one of its family?")


def _photo_size(config: Config) -> Iterator[Finding]:
    """Compare the sizes that processors make photos with the one that the tower takes."""
    places = {"preprocess.vis_processor.eval": config.preprocess.vis_processor.get("eval")}
    for name, data_set in config.datasets.items():
        places[f"datasets.{name}.vis_processor.train"] = data_set.vis_processor.get("train")
    wanted = config.model.image_size
    for place, processor in places.items():
        made = (processor or {}).get("image_size", wanted)
        if made != wanted:
            text = f"{place}.image_size is {made}, but model.image_size is {wanted}"
            yield Finding("photo size", WRONG, text)


def _vision_tower(model: ModelConfig, skeleton: SkinGPT4 | None) -> Iterator[Finding]:
    yield _weights(VISION, "vit_weights", model, skeleton)


def _qformer(model: ModelConfig, skeleton: SkinGPT4 | None) -> Iterator[Finding]:
    if model.has_qformer:
        yield _weights(QFORMER, "q_former_model", model, skeleton)
    else:
        yield Finding(QFORMER, OK, "none: patches are joined by four")


def _weights(part: str, key: str, model: ModelConfig, skeleton: SkinGPT4 | None) -> Finding:
    """Check that a weight file is there and, by its names and shapes, that it fits."""
    name = getattr(model, key)
    if name == RANDOM:
        return Finding(part, NOTE, "random: untrained")
    place = _place(part, f"model.{key}", name)
    if place.state != OK:
        return place
    try:
        source = open_sources(model, [key])[key]
        if skeleton is not None and key == CHECKPOINT:
            check_record(skeleton, source)
        found = Findings() if skeleton is None else check_keys(skeleton, key, source)
    except UserError as error:
        return Finding(part, WRONG, str(error))
    return Finding(part, OK, f"{name}: {len(source)} tensors{found.left_out}")


def _place(part: str, key: str, name: str) -> Finding:
    """Tell whether a file or folder is there, and where it is published if it is not."""
    if not name:
        return Finding(part, MISSING, f"{key} is empty")
    if Path(name).exists():
        return Finding(part, OK, name)
    if is_remote(name):
        return Finding(part, NOTE, f"{name} is fetched when first used; it was not compared")
    known = published(name)
    return Finding(part, MISSING, f"{name} does not exist; {known or f'check {key}'}")


def _checkpoint(model: ModelConfig, skeleton: SkinGPT4 | None) -> Iterator[Finding]:
    """Check the projection's checkpoint: its names, its width, and what it records."""
    if not model.ckpt:
        yield Finding(PROJECTION, NOTE, "model.ckpt is empty: it starts untrained")
        return
    yield _weights(PROJECTION, CHECKPOINT, model, skeleton)
    if skeleton is None or not Path(model.ckpt).exists():
        return
    try:
        unknown = unverifiable(open_tensors(model.ckpt).record)
    except UserError:
        return  # the finding above says it
    if unknown:
        text = f"it does not record, so could not be verified: {', '.join(unknown)}"
        yield Finding(PROJECTION, NOTE, text)


def _untrained(model: ModelConfig) -> Iterator[Finding]:
    """A chat with random parts starts only where that is asked for."""
    parts = {
        VISION: model.vit_weights == RANDOM,
        QFORMER: model.has_qformer and model.q_former_model == RANDOM,
        LANGUAGE: is_random(model.llm_model),
        PROJECTION: not model.ckpt,
    }
    untrained = [part for part, is_untrained in parts.items() if is_untrained]
    if untrained and not model.allow_untrained:
        text = f"no weights for: {', '.join(untrained)}; name them, or say --allow-untrained"
        yield Finding("weights", MISSING, text)


def _memory(needed: float, free: float, placement: Placement) -> Finding:
    text = f"{needed:.2f} GB needed with {PLANNED_TOKENS} tokens of conversation, {free:.2f} free"
    if needed <= free:
        return Finding(MEMORY, OK, text)
    remedies = {
        "cuda": "set model.quantization=nf4, or model.device_map=auto over several GPUs",
        "cpu": "set model.llm_dtype=bf16, or use a GPU or a smaller language model",
    }
    remedy = remedies.get(placement.device.type, "use a smaller language model")
    return Finding(MEMORY, WRONG, f"{text}; {remedy}")
