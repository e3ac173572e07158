"""A Hugging Face language model written as one GGUF file, the form that llama.cpp runs.

The file also says which model it is (:mod:`skingpt4.models.gguf_file`), so that a projection
trained with another one is refused.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

import numpy as np
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
from skingpt4.models.llm import build_meta_llm, load_tokenizer

SENTENCEPIECE_FILE = "tokenizer.model"

# A vocabulary entry: text, score and kind.
Token = tuple[bytes, float, TokenType]


def add_vocabulary(
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
    writer.add_string(TOKENIZER_KEY, json.dumps(_files(tokenizer)))
    merges = _byte_level_merges(tokenizer)
    if (folder / SENTENCEPIECE_FILE).is_file():
        writer.add_tokenizer_model("llama")
        tokens = list(SentencePieceVocab(folder).all_tokens())
        writer.add_add_space_prefix(bool(tokenizer.init_kwargs.get("add_prefix_space", True)))
    elif merges:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
        tokens = list(_byte_level_tokens(tokenizer))
    else:
        writer.add_tokenizer_model("no_vocab")
        return
    _add_tokens(writer, tokenizer, tokens, rows)


def _add_tokens(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, tokens: list[Token], rows: int
) -> None:
    unnamed = range(len(tokens), rows)
    tokens = tokens + [(f"[PAD{i}]".encode(), -1000.0, TokenType.UNUSED) for i in unnamed]
    special = set(tokenizer.all_special_tokens)
    added = set(tokenizer.get_added_vocab())
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([_kind(token, special, added) for token in tokens])
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_unk_token_id: tokenizer.unk_token_id,
    }
    for add, number in ids.items():
        if number is not None:
            add(number)


def _kind(token: Token, special: set[str], added: set[str]) -> TokenType:
    """Return a token's kind; a vocabulary's own file calls later additions normal."""
    name, (_, _, kind) = token[0].decode("utf-8", "replace"), token
    if kind is not TokenType.NORMAL or name not in special | added:
        return kind
    return TokenType.CONTROL if name in special else TokenType.USER_DEFINED


def _byte_level_merges(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the merges of a byte-level BPE; none for other kinds."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if (content["decoder"] or {}).get("type") != "ByteLevel":
        return []
    return [" ".join(pair) for pair in content["model"].get("merges", [])]


def _byte_level_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterator[Token]:
    for name, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        yield name.encode(), 0.0, TokenType.NORMAL


def _files(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Return the text files that a tokenizer is saved as, by name."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}


logger = logging.getLogger(__name__)

Reorder = Callable[[str, np.ndarray, PretrainedConfig], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """How the numbers of a file are kept.

    Attributes:
        matrices: Type of the matrices that every token is multiplied with.
        tokens: Type of the token embeddings and of the output matrix, which suffer most.
        name: What the file calls this.
    """

    matrices: GGMLQuantizationType
    tokens: GGMLQuantizationType
    name: LlamaFileType


_TYPES = GGMLQuantizationType

KINDS = {
    "f32": Kind(_TYPES.F32, _TYPES.F32, LlamaFileType.ALL_F32),
    "f16": Kind(_TYPES.F16, _TYPES.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": Kind(_TYPES.Q8_0, _TYPES.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": Kind(_TYPES.Q4_0, _TYPES.Q8_0, LlamaFileType.MOSTLY_Q4_0),
}

# Quantised types share a scale among this many neighbours of a row.
BLOCK = 32

OUTPUT_NAME = "output.weight"


def _as_it_is(key: str, array: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    return array


def _rotary_pairs(key: str, array: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Bring queries and keys from halves ``(x1, x2)`` to the pairs that llama.cpp rotates."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((n for name, n in heads.items() if f".{name}." in key), None)
    if count is None:
        return array
    halves = array.reshape(count, 2, -1, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def _falcon_qkv(key: str, array: np.ndarray, config: PretrainedConfig) -> np.ndarray:
    """Bring Falcon's groups of queries, key and value to all queries, all keys, all values."""
    if ".query_key_value." not in key:
        return array
    head = config.hidden_size // config.num_attention_heads
    groups = array.reshape(_kv_heads(config), -1, head, *array.shape[1:])
    parts = (groups[:, :-2], groups[:, -2], groups[:, -1])
    return np.concatenate([part.reshape(-1, *array.shape[1:]) for part in parts])


@dataclass(frozen=True)
class Layout:
    """How llama.cpp keeps a family.

    Attributes:
        arch: Its name there.
        pre: How text is split before byte-pair encoding, by llama.cpp's name.
        reorder: Brings a tensor's rows into its order.
    """

    arch: MODEL_ARCH
    pre: str
    reorder: Reorder = _as_it_is


# By transformers' model type.
LAYOUTS = {
    "llama": Layout(MODEL_ARCH.LLAMA, "llama-bpe", _rotary_pairs),
    "mistral": Layout(MODEL_ARCH.LLAMA, "llama-bpe", _rotary_pairs),
    "falcon": Layout(MODEL_ARCH.FALCON, "falcon", _falcon_qkv),
    "qwen2": Layout(MODEL_ARCH.QWEN2, "qwen2"),
    "qwen3": Layout(MODEL_ARCH.QWEN3, "qwen2"),
}

CONVERTER = "llama.cpp's own convert_hf_to_gguf.py writes more kinds"


@dataclass(frozen=True)
class _Entry:
    """One tensor: its names in GGUF, in the model and in the folder, and its shape and type."""

    name: str
    key: str
    stored: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType

    def nbytes(self) -> int:
        """Return how many bytes it takes in the file."""
        return prod(quant_shape_to_byte_shape(self.shape, self.type))


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
    llm = build_meta_llm(name)
    layout = _layout(llm.config, name)
    folder = Path(resolve(name))
    source = open_tensors(folder)
    entries = list(_entries(llm, layout, source, KINDS[kind]))

    def write(file: Path) -> None:
        writer = GGUFWriter(file, MODEL_ARCH_NAMES[layout.arch])
        writer.add_name(Path(name).name)
        writer.add_file_type(KINDS[kind].name)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        _add_shape(writer, llm.config)
        _add_identity(writer, llm.config, source, entries)
        rows = llm.config.vocab_size
        add_vocabulary(writer, load_tokenizer(name), folder, rows, layout.pre)
        _write_tensors(writer, layout, llm.config, source, entries)

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
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    if rope != "default" or getattr(config, "alibi", False):
        raise ConfigError(
            f"The positions of '{name}' are of the kind '{rope if rope != 'default' else 'alibi'}',"
            f" which is not written as GGUF here; {CONVERTER}."
        )
    return LAYOUTS[config.model_type]


def _entries(
    llm: PreTrainedModel, layout: Layout, source: TensorSource, kind: Kind
) -> Iterator[_Entry]:
    """Yield what is to be written, in the model's order.

    Raises:
        WeightsError: If the folder lacks a tensor, or has one of another shape.
    """
    names = get_tensor_name_map(layout.arch, llm.config.num_hidden_layers)
    for key, parameter in llm.named_parameters():
        shape = tuple(parameter.shape)
        stored = _stored_name(llm, source, key)
        if stored is None or source.shapes[stored] != shape:
            has = f"has it as {list(source.shapes[stored])}" if stored else "does not"
            raise WeightsError(
                f"The folder '{source.path}' should hold '{key}' {list(shape)}, but {has}; fetch "
                "it again."
            )
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise WeightsError(f"llama.cpp knows no tensor '{key}' of {source.path}; {CONVERTER}.")
        yield _Entry(name, key, stored, shape, _type(name, shape, kind))


def _stored_name(llm: PreTrainedModel, source: TensorSource, key: str) -> str | None:
    """Find a tensor of the model in a folder, be it inside BLIP-2's or of the bare base model."""
    names = (key, f"language_model.{key}", key.removeprefix(f"{llm.base_model_prefix}."))
    return next((name for name in names if name in source), None)


def _type(name: str, shape: tuple[int, ...], kind: Kind) -> GGMLQuantizationType:
    """Choose a tensor's type: norms and biases stay exact, rows that cannot be cut are halved."""
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    chosen = kind.tokens if name in (EMBEDDINGS_NAME, OUTPUT_NAME) else kind.matrices
    fits = chosen in (GGMLQuantizationType.F32, GGMLQuantizationType.F16) or not shape[-1] % BLOCK
    return chosen if fits else GGMLQuantizationType.F16


def _add_shape(writer: GGUFWriter, config: PretrainedConfig) -> None:
    """Write the numbers that make the family's architecture this model."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(_context(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(
        getattr(config, "ffn_hidden_size", None) or config.intermediate_size
    )
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(_kv_heads(config))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _kv_heads(config: PretrainedConfig) -> int:
    """Return how many heads the keys have; old Falcons share one, or have one for each."""
    if config.model_type != "falcon":
        return int(config.num_key_value_heads)
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)


def _context(config: PretrainedConfig) -> int:
    """Return how far the model looks; llama.cpp has no sliding window for Mistral's layout."""
    window = getattr(config, "sliding_window", None)
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def _add_identity(
    writer: GGUFWriter, config: PretrainedConfig, source: TensorSource, entries: list[_Entry]
) -> None:
    """Write which model it is: its configuration, and values of its embeddings."""
    own = {
        "max_position_embeddings": _context(config),
        "eos_token_id": _end_ids(source.path, config),
    }
    said = config.to_dict() | own
    embeddings = next(entry for entry in entries if entry.name == EMBEDDINGS_NAME)
    writer.add_string(CONFIG_KEY, json.dumps(said))
    writer.add_string(EMBEDDINGS_KEY, json.dumps(sample(source[embeddings.stored][:FREQUENT_ROWS])))


def _end_ids(folder: Path, config: PretrainedConfig) -> int | list[int] | None:
    """Return the tokens that end an answer; instruct models name further ones beside the config."""
    path = folder / "generation_config.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return cast(int | list[int] | None, said.get("eos_token_id", config.eos_token_id))


def _write_tensors(
    writer: GGUFWriter,
    layout: Layout,
    config: PretrainedConfig,
    source: TensorSource,
    entries: list[_Entry],
) -> None:
    floats = np.dtype(np.float32)
    for entry in entries:
        writer.add_tensor_info(entry.name, entry.shape, floats, entry.nbytes(), entry.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry in entries:
        array = layout.reorder(entry.key, source[entry.stored].float().numpy(), config)
        writer.write_tensor_data(quantize(array, entry.type))
    writer.close()
