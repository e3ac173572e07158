"""Tiny stand-ins: two language model families, two tokenizers, and the model surface of Chat."""

import json
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from skingpt4.conversation.chat import Chat
from skingpt4.prompts import PROMPT_STYLES

CONTEXT = 512
FIRST_PIECE = 259  # after the special tokens and the 256 bytes
SENTENCES = (
    "Give the following image: <Img>ImageContent</Img>. You will be able to see the image.",
    "###Human: <Img></Img> Could you describe the skin disease in this image for me?###Assistant:",
    "This could be a skin disease image of actinic keratosis, with plaque, crust and erythema.",
    "What treatment and medication should be recommended for this case? A moisturiser, gently.",
    "It itches at night; the cause is a mite that burrows into the skin of the hand and wrist.",
)


class TinyModel(nn.Module):
    """What Chat uses of SkinGPT4, over random weights."""

    def __init__(self, llm_model, llm_tokenizer, style="skingpt4"):
        super().__init__()
        self.llm_model = llm_model.eval()
        self.llm_tokenizer = llm_tokenizer
        self.prompt_style = PROMPT_STYLES[style]
        self.end_sym = self.prompt_style.end_sym
        self.notice = ""
        self.context_length = CONTEXT
        self.device = torch.device("cpu")
        self.images_encoded = 0

    def embed_tokens(self, ids):
        return self.llm_model.get_input_embeddings()(ids)

    def encode_img(self, image):
        self.images_encoded += 1
        width = self.llm_model.get_input_embeddings().embedding_dim
        grid = torch.arange(32 * width, dtype=torch.float32).view(32, width)
        return torch.sin(grid + 100 * image.mean(dim=(1, 2, 3))[:, None, None]) * 0.02


def _train_sentencepiece(folder):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": True}), encoding="utf-8"
    )


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    _train_sentencepiece(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer_without_bos(tokenizer):
    """Falcon's is like this: an end token only, byte level, nothing prepended."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>")


def _seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return build()


@pytest.fixture(scope="session")
def llama(tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    llm = _seeded(lambda: LlamaForCausalLM(config))
    with torch.no_grad():
        llm.lm_head.weight[:FIRST_PIECE] *= 0.1  # so that it says text, not stray bytes
    return llm


@pytest.fixture(scope="session")
def falcon(tokenizer_without_bos):
    """The layout of Falcon-40B: grouped key-value heads, two parallel norms, rotary positions."""
    config = FalconConfig(
        vocab_size=len(tokenizer_without_bos),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_kv_heads=2,
        new_decoder_architecture=True,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _seeded(lambda: FalconForCausalLM(config))


@pytest.fixture
def model(llama, tokenizer):
    return TinyModel(llama, tokenizer)


@pytest.fixture
def falcon_model(falcon, tokenizer_without_bos):
    return TinyModel(falcon, tokenizer_without_bos)


@pytest.fixture
def chat(model):
    return Chat(model, lambda image: torch.zeros(3, 8, 8))


@pytest.fixture
def photo():
    return torch.full((3, 8, 8), 0.25)


@pytest.fixture
def other_photo():
    return torch.full((3, 8, 8), 0.75)


@pytest.fixture
def say(monkeypatch):
    """Make a model say given token ids, the last for ever; ``on_step`` is called before each."""

    def start(model, ids, on_step=lambda step: None):
        steps = SimpleNamespace(done=0)
        forward = type(model.llm_model).forward

        def scripted(*args, **kwargs):
            on_step(steps.done)
            output = forward(model.llm_model, *args, **kwargs)
            output.logits = torch.full_like(output.logits, -100.0)
            output.logits[..., ids[min(steps.done, len(ids) - 1)]] = 100.0
            steps.done += 1
            return output

        monkeypatch.setattr(model.llm_model, "forward", scripted)
        return steps

    return start


@pytest.fixture
def asked(chat, photo):
    """A conversation with one photo and one question, and its photos."""
    conv, img_list = chat.new_conversation(), []
    chat.upload_img(photo, conv, img_list)
    chat.ask("What is this?", conv)
    return conv, img_list


@pytest.fixture
def prompts(chat, monkeypatch):
    """The prompts that the engine gets, in order."""
    seen = []
    stream = chat.engine.stream

    def record(prompt, *args):
        seen.append(prompt)
        return stream(prompt, *args)

    monkeypatch.setattr(chat.engine, "stream", record)
    return seen
