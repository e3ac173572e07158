"""``--check``: what a run needs, what is there and what fits, told before any weight is read.

The loading code's own steps are called one by one, on the model's skeleton on the meta device, and
their errors are collected. A language model that is missing but published is stood for by its
shape, so that the memory plan and the projection's width can be told all the same.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import is_bitsandbytes_available

from skingpt4.check import MISSING, NOTE, OK, PLANNED_TOKENS, WRONG, Finding, Report
from skingpt4.check.data import check_data
from skingpt4.check.memory import free_gigabytes, kv_cache_gigabytes, memory_plan
from skingpt4.common.checkpoint import open_tensors
from skingpt4.common.config import Config
from skingpt4.common.downloads import is_remote
from skingpt4.common.errors import UserError
from skingpt4.common.files import load_data
from skingpt4.common.schema import ModelConfig
from skingpt4.models.compatibility import unverifiable
from skingpt4.models.device import Placement, choose_placement
from skingpt4.models.external_llm import check_engine, is_external
from skingpt4.models.gguf import is_gguf
from skingpt4.models.llm import load_tokenizer
from skingpt4.models.loading import check_keys, check_record
from skingpt4.models.random_llm import PREFIX, is_random
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.weights import CHECKPOINT, RANDOM, Findings, open_sources
from skingpt4.processors import build_processor
from skingpt4.prompts import get_prompt_style

# Parts, as the report's first column calls them.
VISION, QFORMER, PROJECTION = "vision tower", "Q-Former", "projection"
LANGUAGE, TOKENIZER, PROMPT = "language model", "tokenizer", "prompt form"
DEVICE, ENGINE, MEMORY = "device", "engine", "memory"

# Stands for a language model of unknown shape; nothing is compared with it.
UNKNOWN_LLM = "tiny"

# How a family's own end symbol is written, as "</s>" or "<|im_end|>".
_SPECIAL = re.compile(r"<\S+>")

# What to do where memory is short, by kind of device.
REMEDIES = {
    "cuda": "set model.quantization=nf4, or model.device_map=auto over several GPUs",
    "cpu": "set model.llm_dtype=bf16, or use a GPU or a smaller language model",
}


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
    findings = list(_check_device(placement))
    language = list(_check_language_model(model))
    is_there = all(finding.state in (OK, NOTE) for finding in language)
    stand_in = published(model.llm_model).get("llm", "")
    # Shapes alone. What does not depend on the language model is compared in any case.
    described = model
    if not is_there:
        described = replace(model, llm_model=PREFIX + (stand_in or UNKNOWN_LLM))
    skeleton = None
    try:
        skeleton = SkinGPT4.skeleton(described, placement.vit_dtype)
    except UserError as error:
        findings.append(Finding("configuration", WRONG, str(error)))
    # Of a stand-in whose shape is known, all can be told but what its own files say.
    whole = skeleton if is_there or stand_in else None
    tokenizer = skeleton.llm_tokenizer if skeleton is not None and is_there else None

    # In the order of a photo's way through the model.
    if skeleton is not None:
        findings += _check_photos(config, skeleton.photo)
    findings += _check_weights(VISION, "vit_weights", model, skeleton)
    if model.has_qformer:
        findings += _check_weights(QFORMER, "q_former_model", model, skeleton)
    else:
        findings.append(Finding(QFORMER, OK, "none: patches are joined by four"))
    findings += language
    findings += _check_prompt(model, skeleton, tokenizer)
    findings += _check_weights(PROJECTION, CHECKPOINT, model, whole)
    data = check_data(config, tokenizer) if training else Report(list(_check_untrained(model)))
    findings += data.findings
    if whole is None:
        return Report(findings, tables=data.tables)

    # What has to be in memory while one conversation goes on.
    plan = memory_plan(whole, placement, training)
    cache = kv_cache_gigabytes(whole.llm_model.config, placement.llm_dtype, PLANNED_TOKENS)
    if is_external(whole.config) and not is_gguf(whole.config.llm_model):
        cache = 0.0  # the server keeps it
    free = free_gigabytes(placement)
    needed = sum(part.gigabytes for part in plan) + cache
    text = f"{needed:.2f} GB needed with {PLANNED_TOKENS} tokens of conversation, {free:.2f} free"
    remedy = REMEDIES.get(placement.device.type, "use a smaller language model")
    fits = needed <= free
    findings.append(Finding(MEMORY, OK if fits else WRONG, text if fits else f"{text}; {remedy}"))
    return Report(findings, plan, cache, free, data.tables)


def published(path: str) -> dict[str, Any]:
    """Return what is known of where a file or folder of this name is published; empty if nothing.

    See ``data/published_weights.yaml`` for the keys.
    """
    name = Path(path).name.lower()
    rows: dict[str, dict[str, Any]] = load_data("published_weights.yaml")
    return next((row for pattern, row in rows.items() if fnmatchcase(name, pattern)), {})


def _check_place(part: str, key: str, name: str) -> Finding:
    """Tell whether a file or folder is there, and where it is published if it is not."""
    if not name:
        return Finding(part, MISSING, f"{key} is empty")
    if Path(name).exists():
        return Finding(part, OK, name)
    # A check takes seconds and works offline, so it fetches nothing.
    if is_remote(name):
        return Finding(part, NOTE, f"{name} is fetched when first used; it was not compared")
    remedy = f"check {key}"
    if known := published(name):
        verb = "published at" if known.get("public", True) else "not public; ask at"
        remedy = f"{verb} {known['place']} ({known['remark']})"
    return Finding(part, MISSING, f"{name} does not exist; {remedy}")


def _check_device(placement: Placement) -> Iterator[Finding]:
    device = placement.device
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    spread = ", language model over all GPUs" if placement.device_map else ""
    yield Finding(DEVICE, OK, f"{device}{name}{spread}")
    # Loading would refuse this too, but only after the vision tower has been read.
    kind = placement.quantization
    if kind and not is_bitsandbytes_available():
        text = f"{kind} needs bitsandbytes: pip install 'skingpt4[quant]'"
        yield Finding(DEVICE, MISSING, text)
    if kind and device.type == "cpu":
        text = f"{kind} is no fast way on a CPU; a GGUF file in llama.cpp "
        yield Finding(DEVICE, NOTE, f"{text}(model.engine=llama_cpp) is several times faster")


def _check_language_model(model: ModelConfig) -> Iterator[Finding]:
    """Check what runs the language model, then its folder: all its shards, its tokenizer."""
    # Where another program runs it, little of what follows is this process's concern.
    try:
        check_engine(model)
        if is_external(model):
            yield Finding(ENGINE, OK, f"{model.engine} runs the language model")
    except UserError as error:
        yield Finding(ENGINE, WRONG, str(error))
    name = model.llm_model
    if is_random(name):
        yield Finding(LANGUAGE, NOTE, f"{name} is untrained")
        return
    place = _check_place(LANGUAGE, "model.llm_model", name)
    try:
        # Opening maps every shard and reads none; a GGUF file's header is read with its tokenizer.
        if place.state == OK and not is_gguf(name):
            open_tensors(name)
        if place.state in (OK, NOTE):
            load_tokenizer(name)
        yield place
    except UserError as error:
        yield Finding(LANGUAGE, WRONG, str(error))


def _check_prompt(
    model: ModelConfig, skeleton: SkinGPT4 | None, tokenizer: PreTrainedTokenizerBase | None
) -> Iterator[Finding]:
    """Compare tokenizer and embeddings, show how a question is written, doubt its end symbol."""
    if tokenizer is not None and skeleton is not None:
        # An id beyond the last row would end the first prompt that has it.
        rows = cast(nn.Embedding, skeleton.llm_model.get_input_embeddings()).num_embeddings
        bos = tokenizer.bos_token
        begins = f"begins with {bos}" if bos else "has no begin token"
        text = f"{type(tokenizer).__name__}, {len(tokenizer)} tokens, {begins}"
        found = Finding(TOKENIZER, OK, text)
        if len(tokenizer) > rows:
            text = f"has {len(tokenizer)} tokens, but the language model embeds only {rows}"
            found = Finding(TOKENIZER, WRONG, f"{text}; they do not belong together")
        yield found
    try:
        style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
    except UserError as error:
        yield Finding(PROMPT, WRONG, str(error))
        return
    # The system line is long and says nothing about the form.
    human, assistant = style.roles
    form = replace(style, system="", system_sep="").chat([(human, "{}"), (assistant, None)])
    trained = f", trained as {style.template!r}" if style.template else ""
    yield Finding(PROMPT, OK, f"{style.name}: {form!r}{trained}, ends with {style.end_sym!r}")
    # A family's own end symbol is one token of its own; cut into pieces, it is another family's.
    if tokenizer is not None and _SPECIAL.fullmatch(style.end_sym):
        count = len(tokenizer(style.end_sym, add_special_tokens=False).input_ids)
        if count > 1:
            text = f"{style.end_sym!r} is no token of this language model ({count} pieces)"
            yield Finding(PROMPT, NOTE, f"{text}; is model.prompt_style the one of its family?")


def _check_photos(config: Config, photo: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare what processors make of photos with what the tower takes."""
    places = {"preprocess.vis_processor.eval": config.preprocess.vis_processor.get("eval")}
    for name, data_set in config.datasets.items():
        for split, settings in data_set.vis_processor.items():
            places[f"datasets.{name}.vis_processor.{split}"] = settings
    for place, settings in places.items():
        try:  # another size or other colours would stop the first batch
            if settings:
                build_processor(settings, photo)
        except UserError as error:
            yield Finding("photos", WRONG, f"{place}: {error}")


def _check_weights(
    part: str, key: str, model: ModelConfig, skeleton: SkinGPT4 | None
) -> Iterator[Finding]:
    """Check that a weight file is there and that it fits, by its names, shapes and record.

    Args:
        part: The part that it fills.
        key: That of the model's section which names it.
        model: The section.
        skeleton: What it is compared with; None compares nothing.
    """
    name = getattr(model, key)
    if name == RANDOM:
        yield Finding(part, NOTE, "random: untrained")
        return
    if key == CHECKPOINT and not name:
        yield Finding(part, NOTE, "model.ckpt is empty: it starts untrained")
        return
    place = _check_place(part, f"model.{key}", name)
    if place.state != OK:
        yield place
        return
    unknown: list[str] = []
    try:
        # The steps of models/loading.py, in its order.
        source = open_sources(model, [key])[key]
        found = Findings()
        if skeleton is not None:
            if key == CHECKPOINT:
                unknown = unverifiable(source.record)
                check_record(skeleton, source)
            found = check_keys(skeleton, key, source)
        yield Finding(part, OK, f"{name}: {len(source)} tensors{found.left_out}")
    except UserError as error:
        yield Finding(part, WRONG, str(error))
    # Said of a file that does not fit, too: it may be why.
    if unknown:
        text = f"it does not record, so could not be verified: {', '.join(unknown)}"
        yield Finding(part, NOTE, text)


def _check_untrained(model: ModelConfig) -> Iterator[Finding]:
    """A chat with random parts starts only where that is asked for."""
    parts = {
        VISION: model.vit_weights == RANDOM,
        QFORMER: model.has_qformer and model.q_former_model == RANDOM,
        LANGUAGE: is_random(model.llm_model),
        PROJECTION: not model.ckpt,
    }
    # Its answers mean nothing, and look like any other.
    untrained = [part for part, is_untrained in parts.items() if is_untrained]
    if untrained and not model.allow_untrained:
        text = f"no weights for: {', '.join(untrained)}; name them, or say --allow-untrained"
        yield Finding("weights", MISSING, text)
