"""A GGUF file in llama.cpp: as much of its C interface as a conversation needs.

llama.cpp keeps keys and values by position and *sequence*; one context holds many sequences, and
those that begin alike share what they have in common.
"""

import ctypes
import logging
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skingpt4.common.errors import ChatError, ConfigError, WeightsError

try:
    from llama_cpp import llama_cpp as api
except (ImportError, RuntimeError, OSError) as error:  # absent, or its library cannot be loaded
    raise ConfigError(
        f"model.engine 'llama_cpp' needs the package llama-cpp-python, which cannot be used here "
        f"({error}); run: pip install 'skingpt4[llama_cpp]'."
    ) from None

logger = logging.getLogger(__name__)

# Rows fed at once: enough to multiply well, few enough to be stopped between them.
CHUNK = 128
# llama.cpp's number of a log message that something failed.
ERROR_LEVEL = 4
# general.file_type of a file that rounds nothing.
ALL_F32 = b"0"
# llama.cpp reserves the memory of all keys and values at its start; newer models could attend to
# 131,072 positions. This is 2,441 of Llama-2-13B in half precision, so that a q4_0 file of it
# (7.5 GB) takes less than 10 GB in all.
CACHE_BYTES = 2 * 10**9


@dataclass(frozen=True)
class PhotoRow:
    """One row of a photo's embeddings in a prompt.

    Attributes:
        photo: Tells the photo from others.
        number: Of the row in the photo.
        values: ``[D]``.
    """

    photo: bytes
    number: int
    values: np.ndarray = field(compare=False, repr=False)


# What stands at one position of a prompt: a token's id, or a row of a photo.
PromptRow = int | PhotoRow


class LlamaRuntime:
    """A model and one context; to be used from one thread at a time.

    Args:
        path: The GGUF file.
        longest: Rows that the model can attend to.
        sequences: How many there may be.
        gpu: Whether the build's GPU (Apple's, or CUDA) may be used.

    Attributes:
        positions: Rows that the context holds, over all sequences.

    Raises:
        WeightsError: If llama.cpp cannot load the file, or has no memory for it.
    """

    def __init__(self, path: str | Path, longest: int, sequences: int, gpu: bool) -> None:
        api.llama_log_set(_log, ctypes.c_void_p(0))
        api.llama_backend_init()
        settings = api.llama_model_default_params()
        if not gpu:
            settings.n_gpu_layers = 0
        self._model = api.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise WeightsError(
                f"llama.cpp could not load '{path}'; it is damaged, or newer than this llama.cpp."
            )
        file_type = ctypes.create_string_buffer(16)
        api.llama_model_meta_val_str(self._model, b"general.file_type", file_type, len(file_type))
        is_exact = file_type.value == ALL_F32
        # A row's keys and values, over all layers.
        self.width = int(api.llama_model_n_embd(self._model))
        head = self.width // api.llama_model_n_head(self._model)
        numbers = 2 * api.llama_model_n_layer(self._model) * head
        size = 4 if is_exact else 2
        bytes_a_row = int(numbers * api.llama_model_n_head_kv(self._model) * size)
        self.positions = min(longest, CACHE_BYTES // bytes_a_row)
        self._context = self._open_context(path, sequences, is_exact)
        self._cells = api.llama_get_memory(self._context)
        vocabulary = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model)))
        # Made once: numpy's own way makes a type for each row, which takes a millisecond.
        self._row_type = ctypes.c_float * vocabulary
        self._tokens, self._photos = _Batch(0), _Batch(self.width)
        # Freed in the opposite order: whatever refers to the model goes before the model.
        resources = ExitStack()
        resources.callback(api.llama_model_free, self._model)
        resources.callback(api.llama_free, self._context)
        resources.callback(api.llama_batch_free, self._photos.raw)
        resources.callback(api.llama_batch_free, self._tokens.raw)
        weakref.finalize(self, resources.close)

    def _open_context(self, path: str | Path, sequences: int, is_exact: bool) -> Any:
        settings = api.llama_context_default_params()
        settings.n_ctx = self.positions
        settings.n_batch = settings.n_ubatch = CHUNK
        settings.n_seq_max = sequences
        settings.n_outputs_max_per_seq = 0  # as many as there are rows
        settings.kv_unified = True  # one sequence may fill the context
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        if is_exact:
            # The flash attention of llama.cpp's CPU kernels computes in half precision.
            settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
            settings.type_k = settings.type_v = api.GGML_TYPE_F32
        context = api.llama_init_from_model(self._model, settings)
        if not context:
            api.llama_model_free(self._model)
            raise WeightsError(
                f"llama.cpp has no memory for {self.positions} positions of '{path}'; close other "
                "programs, or take a smaller file."
            )
        return context

    def decode(
        self,
        rows: Sequence[PromptRow],
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> np.ndarray:
        """Take rows in and return the scores of what follows those wanted: ``[n, V]``.

        Args:
            rows: Of one kind, :data:`CHUNK` at most.
            positions: Of each row.
            sequences: Of each row.
            wanted: After which rows the scores are wanted.

        Raises:
            ChatError: If llama.cpp fails; what the sequences hold is unknown then.
        """
        batch = self._photos if isinstance(rows[0], PhotoRow) else self._tokens
        values = [row.values if isinstance(row, PhotoRow) else row for row in rows]
        # Written into llama.cpp's own arrays, of which it reads as many as there are rows.
        count = batch.raw.n_tokens = len(rows)
        batch.values[:count] = values
        batch.positions[:count] = positions
        batch.wanted[:count] = wanted
        for place, sequence in enumerate(sequences):
            batch.raw.seq_id[place][0] = sequence
        code = api.llama_decode(self._context, batch.raw)
        if code:
            raise ChatError(
                f"llama.cpp could not go on (code {code}); ask again, or begin a new conversation.",
                "engine_stopped",
            )
        scores = []
        for place, is_wanted in enumerate(wanted):
            if is_wanted:
                pointer = api.llama_get_logits_ith(self._context, place)
                row = self._row_type.from_address(ctypes.addressof(pointer.contents))
                scores.append(np.array(row))  # a copy: the next call overwrites llama.cpp's own
        return np.stack(scores) if scores else np.empty((0, 0))

    def crop(self, sequence: int, length: int) -> bool:
        """Keep the first rows of a sequence only; tell whether the model's kind allows it."""
        return bool(api.llama_memory_seq_rm(self._cells, sequence, length, -1))

    def share(self, source: int, target: int, length: int) -> None:
        """Let an empty sequence begin with the first rows of another; nothing is copied."""
        api.llama_memory_seq_cp(self._cells, source, target, 0, length)


class _Batch:
    """llama.cpp's arrays of the rows that are taken in at once.

    Args:
        width: Of embeddings (D); 0 for tokens.

    Attributes:
        raw: llama.cpp's own structure, of which the others are views.
        values: Token ids ``[CHUNK]``, or rows of photos ``[CHUNK, D]``.
        positions: Of the rows in their sequences ``[CHUNK]``.
        wanted: After which rows the scores are wanted ``[CHUNK]``.
    """

    def __init__(self, width: int) -> None:
        raw = self.raw = api.llama_batch_init(CHUNK, width, 1)
        view = np.ctypeslib.as_array
        self.values = view(raw.embd, (CHUNK, width)) if width else view(raw.token, (CHUNK,))
        self.positions = view(raw.pos, (CHUNK,))
        self.wanted = view(raw.logits, (CHUNK,))
        view(raw.n_seq_id, (CHUNK,))[:] = 1  # each row belongs to one sequence


@api.llama_log_callback
def _log(level: int, text: bytes, _: Any) -> None:
    """Keep llama.cpp's many words out of the terminal, but for its errors."""
    if level == ERROR_LEVEL:
        logger.warning("llama.cpp: %s", text.decode("utf-8", "replace").strip())
