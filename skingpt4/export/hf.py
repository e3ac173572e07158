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
from collections.abc import Iterator, Sequence
from pathlib import Path
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
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from skingpt4.common.errors import ConfigError
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import PATCH_SIZE
from skingpt4.prompts import IMAGE_PLACEHOLDER, IMAGE_SLOT, PromptStyle

logger = logging.getLogger(__name__)

IMAGE_TOKEN = "<image>"

MODEL_CARD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
---
# SkinGPT-4 as a BLIP-2 folder

{notice}

```python
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

processor = Blip2Processor.from_pretrained(".", backend="pil")  # exact pixels; the default is close
model = Blip2ForConditionalGeneration.from_pretrained(".", dtype="auto")
question = [{{"type": "image"}}, {{"type": "text", "text": "What's wrong with my skin?"}}]
prompt = processor.tokenizer.apply_chat_template(
    [{{"role": "user", "content": question}}], tokenize=False, add_generation_prompt=True
)
inputs = processor(images=Image.open("photo.jpg").convert("RGB"), text=prompt, return_tensors="pt")
answer = model.generate(
    **inputs, max_new_tokens=300, stop_strings=["{stop}"], tokenizer=processor.tokenizer
)
text = processor.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
print(text.removesuffix("{stop}").strip())
```

The chat template writes the prompt form `{style}`, with which the projection was trained; a photo
stands where the prompt has `<image>` tokens. `text_config` has one embedding row more than the
language model's own folder where that token needed one.
"""


def build_processor(model: SkinGPT4) -> Blip2Processor:
    """Build the processor: pixels as our evaluation processor makes them, ids as our chat's."""
    size = {"height": model.config.image_size, "width": model.config.image_size}
    tokenizer = copy.deepcopy(model.llm_tokenizer)
    processor = Blip2Processor(BlipImageProcessorPil(size=size), tokenizer)
    tokenizer.chat_template = chat_template(model.prompt_style, tokenizer, model.image_tokens)
    return processor


def chat_template(style: PromptStyle, tokenizer: PreTrainedTokenizerBase, image_tokens: int) -> str:
    """Write a prompt style as the Jinja template of ``tokenizer.apply_chat_template``.

    A message's content is text, or a list of ``{"type": "image"}`` and ``{"type": "text"}`` parts.
    Our chat tokenises what stands between photos piece by piece; where the tokenizer writes a space
    before a piece, the template does it too, so that the ids are the same.
    """
    before, after = IMAGE_SLOT.split(IMAGE_PLACEHOLDER)
    glue = _glue(tokenizer, IMAGE_TOKEN, after)
    photo = json.dumps(before + IMAGE_TOKEN * image_tokens + glue + after + " ")
    bos = tokenizer.bos_token
    opening = style.opening
    if bos and not _adds_bos(tokenizer) and not opening.startswith(bos):
        opening = bos + _glue(tokenizer, bos, opening + style.roles[0]) + opening
    human, assistant = (json.dumps(role + style.role_sep) for role in style.roles)
    human_end, assistant_end = (json.dumps(style.message_end(role)) for role in style.roles)
    by_assistant = "if message['role'] == 'assistant' else"
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


def model_card(model: SkinGPT4) -> str:
    """Say what the folder is and how to converse with it; the model's notice comes first."""
    return MODEL_CARD.format(
        notice=model.notice or "A research model: it is not a medical device.",
        style=model.prompt_style.name,
        stop=model.end_sym,
    )


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = cast(list[int], tokenizer("a").input_ids)
    return ids[:1] == [tokenizer.bos_token_id]


def _glue(tokenizer: PreTrainedTokenizerBase, marker: str, text: str) -> str:
    """Return what to write between a special token and a text that is tokenised on its own."""
    alone = _ids(tokenizer, text)
    for glue in ("", " "):
        if _ids(tokenizer, marker + glue + text) == [*_ids(tokenizer, marker), *alone]:
            return glue
    logger.warning("The tokenizer joins '%s' with the text after it; prompts may differ", marker)
    return ""


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> Sequence[int]:
    return cast(list[int], tokenizer(text, add_special_tokens=False).input_ids)


SHARD_SIZE = "5GB"

_BLOCK_NAMES = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def export_blip2(model: SkinGPT4, folder: str | Path, dtype: torch.dtype) -> None:
    """Write config, safetensors shards and processor.

    Args:
        model: The assembled model, not quantised.
        folder: Where to write; made if it does not exist.
        dtype: Of every tensor except the Q-Former's, which ``transformers`` keeps in float32.

    Raises:
        ConfigError: If the language model is quantised, or there is no Q-Former.
    """
    if not model.config.has_qformer:
        raise ConfigError(
            "A model without a Q-Former (model.has_qformer=False) cannot be exported: BLIP-2 has "
            "one; export a model that has one."
        )
    if getattr(model.llm_model, "is_quantized", False):
        raise ConfigError(
            f"A quantised language model ('{model.config.llm_model}') cannot be exported; leave "
            "model.quantization empty and model.low_resource False."
        )
    processor = build_processor(model)
    image_id = cast(int, processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    exported = build_blip2(model, image_id, dtype)
    exported.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    # It has written the first tensor's dtype, which is the Q-Former's.
    exported.config.dtype = dtype
    exported.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    (Path(folder) / "README.md").write_text(model_card(model), encoding="utf-8")
    logger.info("Wrote %s to %s", type(exported).__name__, folder)


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
    with torch.device("meta"):
        exported = Blip2ForConditionalGeneration(config)
    tensors = {
        name: value.to(torch.float32 if name.startswith(("qformer.", "query_")) else dtype)
        for name, value in blip2_tensors(model, rows)
    }
    exported.load_state_dict(tensors, strict=True, assign=True)
    exported.tie_weights()
    return exported.eval()


def blip2_config(model: SkinGPT4, image_id: int, rows: int) -> Blip2Config:
    """Describe the model's shapes, with ``rows`` embeddings, as transformers does."""
    tower = model.visual_encoder
    block = cast(Any, tower.blocks[0])
    vision = Blip2VisionConfig(
        hidden_size=tower.embed_dim,
        intermediate_size=block.mlp.fc1.out_features,
        num_hidden_layers=len(tower.blocks),
        num_attention_heads=block.attn.num_heads,
        image_size=model.config.image_size,
        patch_size=PATCH_SIZE,
        layer_norm_eps=block.norm1.eps,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=model.Qformer.config.to_dict(),
        text_config=_text_config(model.llm_model, rows).to_dict(),
        num_query_tokens=model.query_tokens.shape[1],
        image_token_index=image_id,
    )
    config.tie_word_embeddings = model.llm_model.config.tie_word_embeddings
    return config


def embedding_rows(llm: PreTrainedModel) -> int:
    """Return how many token ids the language model embeds."""
    return cast(nn.Embedding, llm.get_input_embeddings()).num_embeddings


def _text_config(llm: PreTrainedModel, rows: int) -> PretrainedConfig:
    """Return the LLM's config; ends of text that only its generation config knows are kept."""
    config = copy.deepcopy(llm.config)
    config.vocab_size = rows
    ends = getattr(llm.generation_config, "eos_token_id", None)
    if ends is not None:
        config.eos_token_id = ends
    return config


def blip2_tensors(model: SkinGPT4, rows: int) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor under its BLIP-2 name, embeddings filled up to ``rows``."""
    yield from _vision_tensors(model.visual_encoder)
    for name, value in model.ln_vision.state_dict().items():
        yield f"vision_model.post_layernorm.{name}", value
    yield "query_tokens", model.query_tokens.detach()
    for name, value in model.Qformer.state_dict().items():
        yield f"qformer.{name}", value
    for name, value in model.llama_proj.state_dict().items():
        yield f"language_projection.{name}", value
    yield from _language_tensors(model.llm_model, rows)


def _vision_tensors(tower: Eva) -> Iterator[tuple[str, Tensor]]:
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
        attention = cast(Any, block.attn)
        biases = [attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias]
        yield f"{layer}.self_attn.qkv.bias", torch.cat(biases).detach()


def _language_tensors(llm: PreTrainedModel, rows: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the LLM's tensors, with as many rows per vocabulary entry as there are token ids.

    A row that the image token adds is the mean of all rows: its score is then the mean score,
    never the highest, so the model does not say the token by itself.
    """
    resized = {
        id(parameter)
        for layer in (llm.get_input_embeddings(), llm.get_output_embeddings())
        if layer is not None
        for parameter in cast(nn.Module, layer).parameters()
    }
    for name, value in llm.state_dict(keep_vars=True).items():
        filled = _fill(value.detach(), rows) if id(value) in resized else value.detach()
        yield f"language_model.{name}", filled


def _fill(table: Tensor, rows: int) -> Tensor:
    missing = rows - table.shape[0]
    if missing <= 0:
        return table
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(missing, *table.shape[1:])])
