"""The exported folder's processor: pixels and token ids as our own chat makes them."""

import copy
import json
import logging
from collections.abc import Sequence
from typing import cast

from transformers import Blip2Processor, BlipImageProcessorPil, PreTrainedTokenizerBase

from skingpt4.models.skin_gpt4 import SkinGPT4
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
