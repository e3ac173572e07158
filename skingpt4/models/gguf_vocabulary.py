"""A tokenizer written into a GGUF file: in llama.cpp's terms, and as it is in ours.

Our engine reads the second alone, so that its tokens are those of every other engine; the first
lets other programs use the file.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gguf import GGUFWriter, TokenType
from gguf.vocab import SentencePieceVocab
from transformers import PreTrainedTokenizerBase

from skingpt4.models.gguf_file import TOKENIZER_KEY

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
