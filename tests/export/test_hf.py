"""The exported folder: transformers alone must give our greedy answer."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AddedToken,
    AutoTokenizer,
    Blip2ForConditionalGeneration,
    Blip2Processor,
)

from skingpt4.check.preflight import preflight
from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.export import hf as hf_export
from skingpt4.export.hf import build_blip2, chat_template, export_blip2
from skingpt4.processors.blip_processors import Blip2ImageEvalProcessor
from skingpt4.prompts import PROMPT_STYLES, get_prompt_style
from tests.conftest import enliven
from tests.llm_families import VOCABULARY

QUESTIONS = ("What's wrong with my skin?", "Why?")
NEW_TOKENS = 12

# Runs where this package cannot be imported: the photo, then for each folder one question, and
# the answer's token ids on the last line of standard output.
ALONE = """
import json, sys
sys.modules["skingpt4"] = None
import torch
from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor
torch.set_num_threads(1)

def answer(folder, photo, question):
    processor = Blip2Processor.from_pretrained(folder, backend="pil")
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    inputs = processor(images=Image.open(photo), text=prompt, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=%d, min_new_tokens=1,
                         stop_strings=["###"], tokenizer=processor.tokenizer)
    return ids[0, inputs["input_ids"].shape[1]:].tolist()

photo, question, *folders = sys.argv[1:]
print(json.dumps([answer(folder, photo, question) for folder in folders]))
"""


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def our_answer(model, photo, question):
    chat = Chat(model, Blip2ImageEvalProcessor(image_size=28))
    conv, photos = chat.new_conversation(), []
    chat.upload_img(photo, conv, photos)
    chat.ask(question, conv)
    return chat.answer(conv, photos, max_new_tokens=NEW_TOKENS)[1].tolist()


@pytest.mark.timeout(900)  # a second interpreter, on a machine that may be busy
def test_transformers_alone_gives_our_greedy_answers(
    make_model, llm_folder, falcon_folder, photo, tmp_path
):
    llms = {"llama": str(llm_folder), "falcon": str(falcon_folder)}
    expected = []
    for name, llm in llms.items():
        model = enliven(make_model(llm_model=llm))
        export_blip2(model, tmp_path / name, torch.float32)
        expected.append(our_answer(model, photo, QUESTIONS[0]))
    folders = [str(tmp_path / name) for name in llms]
    command = [sys.executable, "-c", ALONE % NEW_TOKENS, str(photo), QUESTIONS[0], *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
    assert all(len(set(ids)) > 1 for ids in expected)


@pytest.mark.parametrize("llm", ["llm_folder", "falcon_folder"])
def test_the_folder_serves_as_every_source(make_model, photo, tmp_path, llm, request):
    """Its language model is read too, so that nothing else is needed."""
    model = enliven(make_model(llm_model=str(request.getfixturevalue(llm))))
    folder = str(tmp_path / "exported")
    export_blip2(model, folder, torch.float32)
    keys = ("vit_weights", "q_former_model", "ckpt", "llm_model")
    loaded = make_model(**dict.fromkeys(keys, folder))
    assert preflight(Config(model=loaded.config), "cpu").ok
    assert loaded.untrained == []
    assert type(loaded.llm_model) is type(model.llm_model)
    rows = model.llm_model.get_input_embeddings().num_embeddings
    own, read = model.llm_model.state_dict(), loaded.llm_model.state_dict()
    assert own.keys() == read.keys()
    for name, value in own.items():
        kept = read[name][:rows] if "embed" in name or "head" in name else read[name]
        assert torch.equal(kept, value), name
    assert our_answer(loaded, photo, QUESTIONS[0]) == our_answer(model, photo, QUESTIONS[0])


def test_a_tensor_put_wrong_is_seen(make_model, photo):
    """Control: the answer's inputs depend on each part that is carried over."""
    model = enliven(make_model())
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    exported = build_blip2(model, VOCABULARY, torch.float32)
    with torch.no_grad():
        expected = model.encode_img(pixels)
        same = exported.get_image_features(pixels).pooler_output
        torch.testing.assert_close(same, expected, rtol=1e-4, atol=1e-4)
        exported.vision_model.encoder.layers[0].self_attn.qkv.bias[-32:] = 0
        other = exported.get_image_features(pixels).pooler_output
    assert (other - expected).abs().max() > 1e-3


def test_half_precision_and_the_image_token_s_row(make_model, tmp_path):
    model = make_model()
    export_blip2(model, tmp_path, torch.float16)
    exported = Blip2ForConditionalGeneration.from_pretrained(tmp_path, dtype="auto")
    processor = Blip2Processor.from_pretrained(tmp_path, backend="pil")
    assert exported.language_projection.weight.dtype == torch.float16
    assert exported.qformer.layernorm.weight.dtype == torch.float32
    assert exported.config.image_token_id == processor.tokenizer.convert_tokens_to_ids("<image>")
    head = exported.language_model.lm_head.weight.float()
    assert len(head) == VOCABULARY + 1
    torch.testing.assert_close(
        head[VOCABULARY], head[:VOCABULARY].mean(dim=0), rtol=1e-3, atol=1e-3
    )
    hidden = torch.randn(200, 32)
    assert not ((hidden @ head.T).argmax(dim=1) == VOCABULARY).any()
    assert model.llm_model.get_input_embeddings().num_embeddings == VOCABULARY
    assert "<image>" not in model.llm_tokenizer.get_vocab()


def test_our_own_loader_takes_the_folder_back(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr(hf_export, "SHARD_SIZE", "40KB")
    model = enliven(make_model())
    export_blip2(model, tmp_path, torch.float32)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    parts = dict.fromkeys(("vit_weights", "q_former_model", "ckpt"), str(tmp_path))
    loaded = make_model(**parts)
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_img(pixels), model.encode_img(pixels))


def test_the_pixels_are_ours(make_model, photo, tmp_path):
    export_blip2(make_model(), tmp_path, torch.float16)
    processor = Blip2Processor.from_pretrained(tmp_path, backend="pil")
    pixels = processor(images=Image.open(photo), return_tensors="pt").pixel_values[0]
    ours = Blip2ImageEvalProcessor(image_size=28)(Image.open(photo))
    torch.testing.assert_close(pixels, ours, rtol=0, atol=1e-6)


def two_turns(style):
    """The same conversation as ours, and as transformers takes it."""
    conv = Conversation.from_style(style)
    conv.add_photo()
    conv.add_question(QUESTIONS[0])
    conv.append_message(conv.roles[1], "Psoriasis.")
    conv.add_question(QUESTIONS[1])
    conv.append_message(conv.roles[1], None)
    content = [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]
    return conv, [
        {"role": "user", "content": content},
        {"role": "assistant", "content": "Psoriasis."},
        {"role": "user", "content": QUESTIONS[1]},
    ]


def chat_ids(tokenizer, prompt, image_id):
    """The ids that our chat feeds: text piece by piece, two positions a photo, one BOS."""
    before, after = (
        tokenizer(text, add_special_tokens=False).input_ids for text in prompt.split("<ImageHere>")
    )
    bos = [] if before[:1] == [tokenizer.bos_token_id] else [tokenizer.bos_token_id]
    return [*bos, *before, image_id, image_id, *after]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("name", PROMPT_STYLES)
def test_the_chat_template_gives_our_chat_s_token_ids(llm_folder, name, adds_bos, legacy):
    style = get_prompt_style(name)
    tokenizer = AutoTokenizer.from_pretrained(llm_folder, add_bos_token=adds_bos, legacy=legacy)
    assert (tokenizer("a").input_ids[0] == tokenizer.bos_token_id) is adds_bos
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)])
    conv, messages = two_turns(style)
    template = chat_template(style, tokenizer, 2)
    written = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    assert tokenizer(written).input_ids == chat_ids(tokenizer, conv.get_prompt(), image_id)


def test_a_tower_that_blip2_does_not_have_is_not_exported(make_model, tmp_path):
    tower = {"vit_model": "timm/efficientnet_lite0", "image_size": None}
    with pytest.raises(ConfigError, match=r"'timm/efficientnet_lite0' cannot be exported: BLIP-2"):
        export_blip2(make_model(**tower), tmp_path, torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_quantised_model_is_not_exported(make_model, tmp_path):
    model = make_model()
    model.llm_model.is_quantized = True
    with pytest.raises(ConfigError, match="cannot be exported"):
        export_blip2(model, tmp_path, torch.float16)
    assert not list(tmp_path.iterdir())
