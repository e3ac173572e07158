"""Writing the assembled model as a plain Hugging Face BLIP-2 folder.

The folder needs nothing of this package: ``Blip2ForConditionalGeneration`` and ``Blip2Processor``
of ``transformers`` load it. Two things differ from a published BLIP-2: the photo stands where the
prompt says ``<image>`` instead of always in front, and the chat template writes such prompts.

One number cannot be carried over: ``transformers`` uses one LayerNorm epsilon, 1e-6, for the whole
tower, where the norm after it has 1e-5 here; language model inputs move by less than 1e-4.
"""

import copy
import json
import logging
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, cast

import torch
from timm.models.eva import Eva
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2VisionConfig,
    BlipImageProcessorPil,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from skingpt4.common.errors import ConfigError
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import PATCH_SIZE
from skingpt4.prompts import IMAGE_PLACEHOLDER, IMAGE_SLOT, PromptStyle

logger = logging.getLogger(__name__)

# transformers' name for a photo's place; a prompt holds it once for each of the photo's vectors.
IMAGE_TOKEN = "<image>"

# Of one weight file; a model of 13 billion numbers takes six.
SHARD_SIZE = "5GB"

# For the card of a model whose configuration has no notice.
NO_NOTICE = "A research model: it is not a medical device."

# Layers of a vision block, by timm's names and by transformers'.
_BLOCK_NAMES = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def export_blip2(model: SkinGPT4, folder: str | Path, dtype: torch.dtype) -> None:
    """Write config, safetensors shards, processor and model card.

    Args:
        model: The assembled model, not quantised.
        folder: Where to write; made if it does not exist.
        dtype: Of every tensor except the Q-Former's, which ``transformers`` keeps in float32.

    Raises:
        ConfigError: If the language model is quantised, there is no Q-Former, or the vision tower
            is no EVA ViT.
    """
    if not model.config.has_qformer:
        raise ConfigError(
            "A model without a Q-Former (model.has_qformer=False) cannot be exported: BLIP-2 has "
            "one; export a model that has one."
        )
    if not isinstance(model.visual_encoder, Eva):
        raise ConfigError(
            f"A model with the vision tower '{model.config.vit_model}' cannot be exported: BLIP-2 "
            "has an EVA ViT; export a model that has one."
        )
    # Its matrices are no longer numbers of the shapes that BLIP-2's configuration describes.
    if getattr(model.llm_model, "is_quantized", False):
        raise ConfigError(
            f"A quantised language model ('{model.config.llm_model}') cannot be exported; leave "
            "model.quantization empty and model.low_resource False."
        )
    # The processor adds the image token to a tokenizer of its own: ours must not know it.
    size = dict.fromkeys(("height", "width"), model.photo["image_size"])
    tokenizer = copy.deepcopy(model.llm_tokenizer)
    # Where spaces stand before special tokens hangs on it, and Llama's tokenizer forgets it.
    if hasattr(tokenizer, "legacy"):
        tokenizer.init_kwargs["legacy"] = tokenizer.legacy
    processor = Blip2Processor(BlipImageProcessorPil(size=size), tokenizer)
    tokenizer.chat_template = chat_template(model.prompt_style, tokenizer, model.image_tokens)
    image_id = cast(int, processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    exported = build_blip2(model, image_id, dtype)
    exported.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    # It has written the first tensor's dtype, which is the Q-Former's.
    exported.config.dtype = dtype
    exported.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    card = (resources.files("skingpt4") / "data" / "model_card.md").read_text(encoding="utf-8")
    text = Template(card).substitute(
        notice=model.notice or NO_NOTICE, style=model.prompt_style.name, stop=model.end_sym
    )
    (Path(folder) / "README.md").write_text(text, encoding="utf-8")
    logger.info("Wrote %s to %s", type(exported).__name__, folder)


def chat_template(style: PromptStyle, tokenizer: PreTrainedTokenizerBase, image_tokens: int) -> str:
    """Write a prompt style as the Jinja template of ``tokenizer.apply_chat_template``.

    A message's content is text, or a list of ``{"type": "image"}`` and ``{"type": "text"}`` parts.
    Our chat tokenises what stands between photos piece by piece; where the tokenizer writes a space
    before a piece, the template does it too, so that the ids are the same.
    """
    before, after = IMAGE_SLOT.split(IMAGE_PLACEHOLDER)
    glue = _glue(tokenizer, IMAGE_TOKEN, after)
    photo = json.dumps(before + IMAGE_TOKEN * image_tokens + glue + after + " ")
    opening, bos = style.opening, tokenizer.bos_token
    # Our chat begins every prompt with one BOS: written out where the tokenizer adds none itself.
    adds_bos = cast(list[int], tokenizer("a").input_ids)[:1] == [tokenizer.bos_token_id]
    if bos and not adds_bos and not opening.startswith(bos):
        opening = bos + _glue(tokenizer, bos, opening + style.roles[0]) + opening
    human, assistant = (json.dumps(role + style.role_sep) for role in style.roles)
    human_end, assistant_end = (json.dumps(style.message_end(role)) for role in style.roles)
    by_assistant = "if message['role'] == 'assistant' else"
    # Written into the template by json.dumps: a Jinja string literal is one of JSON's.
    return (
        f"{{{{ {json.dumps(opening)} }}}}"
        "{% for message in messages %}"
        f"{{{{ {assistant} {by_assistant} {human} }}}}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        f"{{{{ {photo} if part['type'] == 'image' else part['text'] }}}}"
        "{% endfor %}{% endif %}"
        f"{{{{ {assistant_end} {by_assistant} {human_end} }}}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}"
        f"{{{{ {json.dumps(style.roles[1] + style.open_role_sep)} }}}}"
        "{% endif %}"
    )


def _glue(tokenizer: PreTrainedTokenizerBase, marker: str, text: str) -> str:
    """Return what to write between a special token and a text that is tokenised on its own."""

    def ids(written: str) -> list[int]:
        return cast(list[int], tokenizer(written, add_special_tokens=False).input_ids)

    # SentencePiece puts a space before a text on its own, but none behind a special token.
    for glue in ("", " "):
        if ids(marker + glue + text) == [*ids(marker), *ids(text)]:
            return glue
    logger.warning("The tokenizer joins '%s' with the text after it; prompts may differ", marker)
    return ""


def build_blip2(
    model: SkinGPT4, image_id: int, dtype: torch.dtype
) -> Blip2ForConditionalGeneration:
    """Return the model as transformers' class, sharing tensors that need no change of dtype.

    Args:
        model: The assembled model.
        image_id: Token id that marks a photo's place; embedding rows are added up to it.
        dtype: Of every tensor except the Q-Former's.
    """
    rows = max(image_id + 1, embedding_rows(model.llm_model))
    config = blip2_config(model, image_id, rows)
    # On the meta device, so that the model is in memory once.
    with torch.device("meta"):
        exported = Blip2ForConditionalGeneration(config)
    # transformers computes the Q-Former in float32 whatever dtype is asked for.
    tensors = {
        name: value.to(torch.float32 if name.startswith(("qformer.", "query_")) else dtype)
        for name, value in blip2_tensors(model, rows)
    }
    # Strict: a tensor of theirs that ours does not fill would stay without numbers.
    exported.load_state_dict(tensors, strict=True, assign=True)
    exported.tie_weights()
    return exported.eval()


def blip2_config(model: SkinGPT4, image_id: int, rows: int) -> Blip2Config:
    """Describe the model's shapes, with ``rows`` embeddings, as transformers does."""
    tower = cast(Eva, model.visual_encoder)
    block = cast(Any, tower.blocks[0])
    vision = Blip2VisionConfig(
        hidden_size=tower.embed_dim,
        intermediate_size=block.mlp.fc1.out_features,
        num_hidden_layers=len(tower.blocks),
        num_attention_heads=block.attn.num_heads,
        image_size=model.photo["image_size"],
        patch_size=PATCH_SIZE,
        layer_norm_eps=block.norm1.eps,
    )
    # A copy: the model goes on with its own number of embeddings.
    text = copy.deepcopy(model.llm_model.config)
    text.vocab_size = rows
    # An instruct model names further ends of an answer in its generation config alone.
    ends = getattr(model.llm_model.generation_config, "eos_token_id", None)
    if ends is not None:
        text.eos_token_id = ends
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=model.Qformer.config.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=model.query_tokens.shape[1],
        image_token_index=image_id,
    )
    # BLIP-2's own flag decides about the language model inside it, and is True by default.
    config.tie_word_embeddings = model.llm_model.config.tie_word_embeddings
    return config


def embedding_rows(llm: PreTrainedModel) -> int:
    """Return how many token ids the language model embeds."""
    return cast(nn.Embedding, llm.get_input_embeddings()).num_embeddings


def blip2_tensors(model: SkinGPT4, rows: int) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor under its BLIP-2 name, embeddings filled up to ``rows``."""
    yield from _vision_tensors(cast(Eva, model.visual_encoder))
    yield "query_tokens", model.query_tokens.detach()
    parts: dict[str, nn.Module] = {
        "vision_model.post_layernorm": model.ln_vision,
        "qformer": model.Qformer,
        "language_projection": model.llama_proj,
    }
    for prefix, part in parts.items():
        for name, value in part.state_dict().items():
            yield f"{prefix}.{name}", value
    yield from _language_tensors(model.llm_model, rows)


def _vision_tensors(tower: Eva) -> Iterator[tuple[str, Tensor]]:
    # cls_token [1, 1, C], pos_embed [1, 1 + N, C]: the same shapes there.
    stem = "vision_model.embeddings"
    yield f"{stem}.class_embedding", cast(Tensor, tower.cls_token).detach()
    yield f"{stem}.position_embedding", cast(Tensor, tower.pos_embed).detach()
    for name, value in tower.patch_embed.proj.state_dict().items():
        yield f"{stem}.patch_embedding.{name}", value
    for number, block in enumerate(tower.blocks):
        layer = f"vision_model.encoder.layers.{number}"
        for ours, theirs in _BLOCK_NAMES.items():
            for name, value in block.get_submodule(ours).state_dict().items():
                yield f"{layer}.{theirs}.{name}", value
        # EVA's keys have no bias; transformers has one bias [3 * C] for all three.
        attention = cast(Any, block.attn)
        biases = [attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias]
        yield f"{layer}.self_attn.qkv.bias", torch.cat(biases).detach()


def _language_tensors(llm: PreTrainedModel, rows: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the LLM's tensors, with as many rows per vocabulary entry as there are token ids."""
    # By identity, not by name: families name them differently, and tied ones are the same tensor.
    resized = {
        id(parameter)
        for layer in (llm.get_input_embeddings(), llm.get_output_embeddings())
        if layer is not None
        for parameter in cast(nn.Module, layer).parameters()
    }
    for name, parameter in llm.state_dict(keep_vars=True).items():
        value = parameter.detach()
        missing = rows - len(value) if id(parameter) in resized else 0
        if missing > 0:
            # The mean of all rows: the image token's score is then the mean score and never the
            # highest, so the model does not say the token by itself. [V, D], or a bias [V].
            mean = value.float().mean(dim=0, keepdim=True).to(value.dtype)
            value = torch.cat([value, mean.expand(missing, *value.shape[1:])])
        yield f"language_model.{name}", value
