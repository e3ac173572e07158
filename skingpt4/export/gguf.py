"""A Hugging Face language model written as one GGUF file, the form that llama.cpp runs.

The file also says which model it is (:mod:`skingpt4.models.gguf`), so that a projection trained
with another one is refused.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from einops import rearrange
from gguf import (
    GGML_QUANT_VERSION,
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    LlamaFileType,
    TokenType,
    get_tensor_name_map,
    quant_shape_to_byte_shape,
    quantize,
)
from gguf.vocab import SentencePieceVocab
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.common.checkpoint import TensorSource, open_tensors
from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.files import write_atomically
from skingpt4.models.compatibility import FREQUENT_ROWS, sample
from skingpt4.models.gguf import CONFIG_KEY, EMBEDDINGS_KEY, EMBEDDINGS_NAME, TOKENIZER_KEY
from skingpt4.models.llm import build_meta_llm, key_value_heads, load_tokenizer

logger = logging.getLogger(__name__)

F32, F16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16
Q8_0, Q4_0 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0

# Quantised types share a scale among this many neighbours of a row.
BLOCK = 32

# GGUF's name of the matrix that gives the tokens' scores; absent where it is the embeddings'.
OUTPUT_NAME = "output.weight"

# A SentencePiece model: the scores in it, which llama.cpp merges by, stand in no other file.
SENTENCEPIECE_FILE = "tokenizer.model"

# What to use instead, for errors.
CONVERTER = "llama.cpp's own convert_hf_to_gguf.py writes more kinds"

# A vocabulary entry: text, score and kind.
Token = tuple[bytes, float, TokenType]

# Key, values, configuration: the values with their rows in llama.cpp's order.
Reorder = Callable[[str, np.ndarray, PretrainedConfig], np.ndarray]


@dataclass(frozen=True)
class GgufKind:
    """How the numbers of a file are kept.

    Attributes:
        matrices: Type of the matrices that every token is multiplied with.
        tokens: Type of the token embeddings and of the output matrix, which suffer most.
        name: What the file calls this.
    """

    matrices: GGMLQuantizationType
    tokens: GGMLQuantizationType
    name: LlamaFileType


# What --kind takes. Embeddings of 4 bits cost more quality than they save.
KINDS = {
    "f32": GgufKind(F32, F32, LlamaFileType.ALL_F32),
    "f16": GgufKind(F16, F16, LlamaFileType.MOSTLY_F16),
    "q8_0": GgufKind(Q8_0, Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": GgufKind(Q4_0, Q8_0, LlamaFileType.MOSTLY_Q4_0),
}


def _rotary_pairs(key: str, array: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Bring queries and keys from halves ``(x1, x2)`` to the pairs that llama.cpp rotates."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((n for name, n in heads.items() if f".{name}." in key), None)
    if count is None:
        return array
    # Of weights [H * D, C] and of biases [H * D] alike.
    pairs = "(head half pair) ... -> (head pair half) ..."
    return rearrange(array, pairs, head=count, half=2)


def _falcon_qkv(key: str, array: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Bring Falcon's groups of queries, key and value to all queries, all keys, all values."""
    if ".query_key_value." not in key:
        return array
    # [G * (Q + 2) * D, C]: G groups of Q queries that share a key and a value of D numbers each.
    size = config.hidden_size // config.num_attention_heads
    split = "(group part head) ... -> group part head ..."
    groups = rearrange(array, split, group=key_value_heads(config), head=size)
    # The last two parts of a group are its key and its value, all before them its queries.
    parts = (groups[:, :-2], groups[:, -2:-1], groups[:, -1:])
    return np.concatenate(
        [rearrange(p, "group part head ... -> (group part head) ...") for p in parts]
    )


@dataclass(frozen=True)
class Layout:
    """How llama.cpp keeps a family.

    Attributes:
        arch: Its name there.
        pre: How text is split before byte-pair encoding, by llama.cpp's name.
        reorder: Brings a tensor's rows into its order; None where they are in it.
    """

    arch: MODEL_ARCH
    pre: str
    reorder: Reorder | None = None


# By transformers' model type.
LAYOUTS = {
    "llama": Layout(MODEL_ARCH.LLAMA, "llama-bpe", _rotary_pairs),
    "mistral": Layout(MODEL_ARCH.LLAMA, "llama-bpe", _rotary_pairs),
    "falcon": Layout(MODEL_ARCH.FALCON, "falcon", _falcon_qkv),
    "qwen2": Layout(MODEL_ARCH.QWEN2, "qwen2"),
    "qwen3": Layout(MODEL_ARCH.QWEN3, "qwen2"),
}


@dataclass(frozen=True)
class _Entry:
    """One tensor: its names in GGUF, in the model and in the folder, and its shape and type."""

    name: str
    key: str
    stored: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType


def export_gguf(name: str, path: str | Path, kind: str) -> None:
    """Write a language model as a GGUF file, atomically, one tensor in memory at a time.

    Args:
        name: Hugging Face folder or id; the folder's files are read, no code in it is run.
        path: The file to write.
        kind: Row of :data:`KINDS`.

    Raises:
        ConfigError: If the kind, the family or its positions are none of ours.
        WeightsError: If the folder is missing, incomplete or damaged.
    """
    if kind not in KINDS:
        raise ConfigError(f"'{kind}' is no kind of GGUF file; choose one of: {', '.join(KINDS)}.")
    # Shapes alone; the numbers come straight from the folder, whose types may be other ones.
    llm = build_meta_llm(name)
    config = llm.config
    layout = _layout(config, name)
    source = open_tensors(resolve(name))
    # All of them, before the first byte is written: a tensor that lacks is told at once.
    entries = list(_entries(llm, layout, source, KINDS[kind]))

    def write(file: Path) -> None:
        writer = GGUFWriter(file, MODEL_ARCH_NAMES[layout.arch])
        writer.add_name(Path(name).name)
        writer.add_file_type(KINDS[kind].name)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        _add_shape(writer, config)
        _add_identity(writer, config, source, entries)
        _add_vocabulary(writer, load_tokenizer(name), source.path, config.vocab_size, layout.pre)
        # GGUF's header says where each tensor lies, so all sizes are told before any value.
        for entry in entries:
            size = prod(quant_shape_to_byte_shape(entry.shape, entry.type))
            floats = np.dtype(np.float32)
            writer.add_tensor_info(entry.name, entry.shape, floats, size, entry.type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # One at a time: a model of 26 GB is written in the memory of its largest tensor.
        for entry in entries:
            array = source[entry.stored].float().numpy()
            if layout.reorder:
                array = layout.reorder(entry.key, array, config)
            writer.write_tensor_data(quantize(array, entry.type))
        writer.close()

    write_atomically(path, write)
    logger.info("Wrote %s: %d tensors, %d bytes", path, len(entries), Path(path).stat().st_size)


def _layout(config: PretrainedConfig, name: str) -> Layout:
    """Return the row of a family.

    Raises:
        ConfigError: If llama.cpp's file would mean another model.
    """
    if config.model_type not in LAYOUTS:
        raise ConfigError(
            f"'{name}' is of the kind '{config.model_type}', which is not written as GGUF here; "
            f"known: {', '.join(LAYOUTS)}; {CONVERTER}."
        )
    # llama.cpp would rotate by plain positions, and give other answers without a word.
    positions = (config.rope_parameters or {}).get("rope_type", "default")
    if positions == "default" and getattr(config, "alibi", False):
        positions = "alibi"
    if positions != "default":
        raise ConfigError(
            f"The positions of '{name}' are of the kind '{positions}', which is not written as "
            f"GGUF here; {CONVERTER}."
        )
    return LAYOUTS[config.model_type]


def _entries(
    llm: PreTrainedModel, layout: Layout, source: TensorSource, kind: GgufKind
) -> Iterator[_Entry]:
    """Yield what is to be written, in the model's order.

    Raises:
        WeightsError: If the folder lacks a tensor, or has one of another shape.
    """
    names = get_tensor_name_map(layout.arch, llm.config.num_hidden_layers)
    for key, parameter in llm.named_parameters():
        shape = tuple(parameter.shape)
        # As the model names it, inside a BLIP-2 folder, or in a folder of the bare base model.
        base = key.removeprefix(f"{llm.base_model_prefix}.")
        candidates = (key, f"language_model.{key}", base)
        stored = next((candidate for candidate in candidates if candidate in source), None)
        if stored is None or source.shapes[stored] != shape:
            has = f"has it as {list(source.shapes[stored])}" if stored else "does not"
            raise WeightsError(
                f"The folder '{source.path}' should hold '{key}' {list(shape)}, but {has}; fetch "
                "it again."
            )
        # gguf knows names without what they end in, and puts that back.
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise WeightsError(f"llama.cpp knows no tensor '{key}' of {source.path}; {CONVERTER}.")
        chosen = kind.tokens if name in (EMBEDDINGS_NAME, OUTPUT_NAME) else kind.matrices
        if len(shape) == 1:
            chosen = F32  # norms and biases: tiny, and added to every activation
        elif chosen not in (F32, F16) and shape[-1] % BLOCK:
            chosen = F16  # a row that cannot be cut into blocks is halved
        yield _Entry(name, key, stored, shape, chosen)


def _add_shape(writer: GGUFWriter, config: PretrainedConfig) -> None:
    """Write the numbers that make the family's architecture this model."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    hidden = getattr(config, "ffn_hidden_size", None) or config.intermediate_size  # Falcon's name
    writer.add_context_length(_context_length(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(key_value_heads(config))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(config.vocab_size)
    # All of a head is rotated; families that rotate a part of it are not in `LAYOUTS`.
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _context_length(config: PretrainedConfig) -> int:
    """Return how far the model looks; llama.cpp has no sliding window for Mistral's layout."""
    window = getattr(config, "sliding_window", None)
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def _add_identity(
    writer: GGUFWriter, config: PretrainedConfig, source: TensorSource, entries: list[_Entry]
) -> None:
    """Write which model it is: its configuration, and values of its embeddings."""
    # Instruct models name further tokens that end an answer beside the config.
    generation = source.path / "generation_config.json"
    said = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
    settings = config.to_dict() | {
        "max_position_embeddings": _context_length(config),
        "eos_token_id": said.get("eos_token_id", config.eos_token_id),
    }
    embeddings = next(entry for entry in entries if entry.name == EMBEDDINGS_NAME)
    # From before they are quantised: a checkpoint records the values that it was trained with.
    values = sample(source[embeddings.stored][:FREQUENT_ROWS])
    writer.add_string(CONFIG_KEY, json.dumps(settings))
    writer.add_string(EMBEDDINGS_KEY, json.dumps(values))


def _add_vocabulary(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int, pre: str
) -> None:
    """Write a tokenizer's tokens, special ids and files.

    A kind that llama.cpp has no name for is written as our files alone.

    Args:
        writer: Of a file whose data has not begun.
        tokenizer: The tokenizer.
        folder: Where it came from.
        rows: Of the token embeddings; tokens without a name fill up to this.
        pre: llama.cpp's name for how the family splits text before byte-pair encoding.
    """
    with tempfile.TemporaryDirectory() as saved:
        tokenizer.save_pretrained(saved)
        files = {path.name: path.read_text(encoding="utf-8") for path in Path(saved).iterdir()}
    # Whole, for our own reading: both engines then take the same tokens.
    writer.add_string(TOKENIZER_KEY, json.dumps(files))
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    is_byte_level = (content["decoder"] or {}).get("type") == "ByteLevel"
    merges = [" ".join(pair) for pair in content["model"].get("merges", [])]
    # What follows is for llama.cpp's own reading, when others run the file.
    tokens: list[Token]
    if (folder / SENTENCEPIECE_FILE).is_file():
        writer.add_tokenizer_model("llama")
        tokens = list(SentencePieceVocab(folder).all_tokens())
        writer.add_add_space_prefix(bool(tokenizer.init_kwargs.get("add_prefix_space", True)))
    elif is_byte_level and merges:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
        vocabulary = tokenizer.get_vocab()
        names = sorted(vocabulary, key=vocabulary.__getitem__)
        tokens = [(name.encode(), 0.0, TokenType.NORMAL) for name in names]
    else:
        writer.add_tokenizer_model("no_vocab")
        return
    # Embeddings often have more rows than there are tokens, padded to a round number.
    unnamed = range(len(tokens), rows)
    tokens += [(f"[PAD{i}]".encode(), -1000.0, TokenType.UNUSED) for i in unnamed]
    # A vocabulary's own file calls tokens that were added later normal.
    kinds = [kind for _, _, kind in tokens]
    special, added = set(tokenizer.all_special_tokens), set(tokenizer.get_added_vocab())
    for number, (text, _, kind) in enumerate(tokens):
        name = text.decode("utf-8", "replace")
        if kind is TokenType.NORMAL and name in special | added:
            kinds[number] = TokenType.CONTROL if name in special else TokenType.USER_DEFINED
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types(kinds)
    # An id that the tokenizer lacks stays unwritten; any number would name a real token.
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_unk_token_id: tokenizer.unk_token_id,
    }
    for add, number in ids.items():
        if number is not None:
            add(number)
