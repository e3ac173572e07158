"""Generation by llama.cpp, for machines without a GPU: text as tokens, photos as embeddings.

llama.cpp gives the scores of the next token; it is chosen from them as the engine ``transformers``
does, with the same noise from the same seed.
"""

import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count, groupby, islice
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines.base import Decoding, Engine
from skingpt4.conversation.engines.decoding import TextStop, sampling
from skingpt4.conversation.engines.llama_cpp_runtime import CHUNK, LlamaRuntime, PhotoRow, PromptRow
from skingpt4.conversation.engines.prompt_encoder import Prompt, PromptEncoder
from skingpt4.conversation.engines.threads import iterate_in_thread, new_worker

if TYPE_CHECKING:
    from skingpt4.common.schema import ModelConfig
    from skingpt4.models.skin_gpt4 import SkinGPT4

CPU = torch.device("cpu")

# How many conversations keep their rows; another one takes the place of the longest unused.
CONVERSATIONS = 16

# Answers to one question that are drawn in step with each other.
DRAWS = 16

Ended = Callable[[], bool]


class TokenSampler:
    """Chooses the tokens of one answer, from its first to its end.

    Args:
        prompts: Gives the tokenizer, and the tokens that end an answer.
        decoding: How it is chosen.
        seed: Makes sampling repeatable.
        stops: Strings that end it.

    Attributes:
        ids: Its tokens so far.
        ended: Whether it is whole.

    Raises:
        ChatError: If beams are asked for.
    """

    def __init__(
        self, prompts: PromptEncoder, decoding: Decoding, seed: int | None, stops: Sequence[str]
    ) -> None:
        if decoding.num_beams > 1:
            raise ChatError(
                f"num_beams is {decoding.num_beams}, but the engine 'llama_cpp' answers without "
                "beams; set it to 1, or set model.engine=transformers.",
                "engine_setting",
            )
        self.ids: list[int] = []
        self.ended = False
        self._decoding = decoding
        self._end_ids = prompts.end_ids
        self._text_stop = TextStop(prompts.tokenizer, stops)
        self._processors = sampling(decoding, [seed], CPU)
        if decoding.repetition_penalty != 1:
            # Before all others, which is the order of ``generate``.
            penalty = RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty))
            self._processors.insert(0, penalty)

    def step(self, scores: np.ndarray) -> int:
        """Add the next token and return it.

        Args:
            scores: Of all tokens, ``[V]``; changed.
        """
        if len(self.ids) < self._decoding.min_length:
            scores[self._end_ids] = -np.inf
        so_far = cast(torch.LongTensor, torch.tensor([self.ids], dtype=torch.long))  # [1, n]
        shaped = self._processors(so_far, torch.from_numpy(scores).unsqueeze(0))  # [1, V]
        token = int(shaped.argmax())
        self.ids.append(token)
        self.ended = (
            token in self._end_ids
            or len(self.ids) == self._decoding.max_new_tokens
            or bool(self._text_stop(torch.tensor([self.ids]), None))
        )
        return token


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The work in progress is not wanted any more."""


@dataclass(eq=False)
class SequenceMemory:
    """What the context holds of one conversation; once dropped, the next answer clears that.

    Attributes:
        rows: Its first rows, whose keys and values the context has.
        sequence: llama.cpp's number for it.
        used: When it was claimed last.
    """

    rows: list[PromptRow] = field(default_factory=list)
    sequence: int = -1
    used: int = -1


@dataclass(eq=False)
class SequenceCache:
    """Gives each conversation a sequence of the context, as long as there is room.

    Attributes:
        runtime: With :data:`CONVERSATIONS` + :data:`DRAWS` sequences.
        held: Conversations that have a sequence; those that are dropped leave by themselves.
        taken: Sequences that hold rows.
    """

    runtime: LlamaRuntime
    held: "weakref.WeakSet[SequenceMemory]" = field(default_factory=weakref.WeakSet)
    taken: set[int] = field(default_factory=set)
    _clock: Iterator[int] = field(default_factory=count)

    @contextmanager
    def holding(
        self, memory: SequenceMemory, rows: Sequence[PromptRow], room: int
    ) -> Iterator[None]:
        """Keep what the context has of a prompt, and make room for the rest and the answer.

        What another conversation has of it is shared. Conversations that were not used for the
        longest time give way. :class:`Stopped` ends the block; after any other exception nothing
        is known of the conversation's rows, and they are let go.

        Args:
            memory: The conversation's; its rows are cut to what the prompt begins with.
            rows: The prompt; at least its last row is left to be taken in.
            room: How many rows may follow the prompt.
        """
        try:
            self._claim(memory, rows[:-1])
            others = sorted(self.held - {memory}, key=lambda other: other.used)
            needed = len(rows) + room
            while others and sum(len(o.rows) for o in others) + needed > self.runtime.positions:
                self._forget(others.pop(0))
            yield
        except Stopped:
            pass
        except BaseException:
            self._forget(memory)
            raise

    def feed(
        self, memory: SequenceMemory, rows: Sequence[PromptRow], ended: Ended, wanted: int = 1
    ) -> np.ndarray:
        """Take rows in after those that a conversation has.

        Args:
            memory: The conversation's, held.
            rows: What comes next.
            ended: Asked between chunks whether the work is not wanted any more.
            wanted: After how many of the last rows the scores are wanted.

        Returns:
            The scores of what follows these rows, ``[wanted, V]``.

        Raises:
            ChatError: If llama.cpp fails.
            Stopped: If the work was ended.
        """
        scores: list[np.ndarray] = []
        left = len(rows)
        # llama.cpp takes tokens or embeddings in one call, not both.
        for _, alike in groupby(rows, key=type):
            while chunk := list(islice(alike, CHUNK)):
                if ended():
                    raise Stopped
                start, size = len(memory.rows), len(chunk)
                is_wanted = [left - i <= wanted for i in range(size)]
                positions = range(start, start + size)
                sequences = [memory.sequence] * size
                scores.extend(self.runtime.decode(chunk, positions, sequences, is_wanted))
                memory.rows += chunk
                left -= size
        return np.stack(scores)

    def _claim(self, memory: SequenceMemory, rows: Sequence[PromptRow]) -> None:
        """Give a conversation a sequence that holds as many of the rows as are to be had."""
        # Sequences of conversations that were dropped are emptied first.
        for sequence in self.taken - {other.sequence for other in self.held}:
            self.runtime.crop(sequence, 0)
            self.taken.discard(sequence)
        if memory not in self.held:
            if len(self.taken) == CONVERSATIONS:
                self._forget(min(self.held, key=lambda other: other.used))
            memory.sequence = min(set(range(CONVERSATIONS)) - self.taken)
            self.taken.add(memory.sequence)
            self.held.add(memory)
        memory.used = next(self._clock)
        # Its own rows win over as many of another's, because it was used last.
        shared = {}  # how many rows each conversation has in common with the prompt
        for other in self.held:
            pairs = enumerate(zip(other.rows, rows, strict=False))
            unlike = (place for place, (ours, theirs) in pairs if ours != theirs)
            shared[other] = next(unlike, min(len(other.rows), len(rows)))
        best = max(shared, key=lambda other: (shared[other], other.used))
        kept = shared[best]
        if best is not memory:
            self.runtime.crop(memory.sequence, 0)
            self.runtime.share(best.sequence, memory.sequence, kept)
        elif not self.runtime.crop(memory.sequence, kept):
            # Some kinds of model, recurrent ones, cannot be cut in the middle.
            self.runtime.crop(memory.sequence, 0)
            kept = 0
        memory.rows = list(rows[:kept])

    def _forget(self, memory: SequenceMemory) -> None:
        """Empty a conversation's sequence, if it has one, and let another have it."""
        if memory in self.held:
            self.runtime.crop(memory.sequence, 0)
            self.held.discard(memory)
            self.taken.discard(memory.sequence)
        memory.rows = []


class LlamaCppEngine(Engine):
    """A GGUF file's language model; safe to use from several threads, which take turns.

    The rows of the latest conversations stay in llama.cpp's context, so that the next turn takes
    in only what is new.

    Args:
        model: Gives the tokenizer, the photos' embeddings and the length of the context.
        config: Its section; ``llm_model`` is the file.

    Raises:
        WeightsError: If llama.cpp cannot load the file.
    """

    def __init__(self, model: "SkinGPT4", config: "ModelConfig") -> None:
        super().__init__(model)
        self.new_memory = SequenceMemory
        self.runtime = LlamaRuntime(
            resolve(config.llm_model),
            longest=self.context_length,
            sequences=CONVERSATIONS + DRAWS,
            gpu=model.device.type != "cpu",
        )
        self.context_length = self.runtime.positions
        self._cache = SequenceCache(self.runtime)
        # llama.cpp is used from this thread alone, so answers take turns.
        self._worker = new_worker()

    def stream(
        self,
        prompt: Prompt,
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[list[int], None, None]:
        """Yield an answer's token ids as they come; see :class:`Engine`.

        Raises:
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows = _rows(prompt)
        sampler = TokenSampler(self.prompts, decoding, decoding.seed, stops)
        own = memory if isinstance(memory, SequenceMemory) else SequenceMemory()

        def work(put: Callable[[list[int]], None], ended: Ended) -> None:
            with self._cache.holding(own, rows, decoding.max_new_tokens):
                new = rows[len(own.rows) :]
                while not sampler.ended:
                    token = sampler.step(self._cache.feed(own, new, ended)[-1])
                    put([token])
                    new = [token]

        return iterate_in_thread(work, self._worker, cancel)

    def draw(
        self,
        prompt: Prompt,
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Generator[tuple[int, list[int]], None, None]:
        """Yield (number, token ids) of each independent answer; see :class:`Engine`.

        The question is taken in once, and as many answers as there is room for go on in step.

        Raises:
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows, memory = _rows(prompt), SequenceMemory()
        samplers = [TokenSampler(self.prompts, decoding, seed, stops) for seed in seeds]
        room = (self.runtime.positions - len(rows)) // decoding.max_new_tokens
        size = max(1, min(room, DRAWS))

        def work(put: Callable[[tuple[int, list[int]]], None], ended: Ended) -> None:
            for start in range(0, len(samplers), size):
                group = dict(enumerate(samplers[start : start + size], start))
                with self._cache.holding(memory, rows, len(group) * decoding.max_new_tokens):
                    scores = self._cache.feed(memory, rows[len(memory.rows) :], ended)[-1]
                    self._draw_group(memory, group, scores, put, ended)

        return iterate_in_thread(work, self._worker, cancel)

    def _draw_group(
        self,
        memory: SequenceMemory,
        group: dict[int, TokenSampler],
        scores: np.ndarray,
        put: Callable[[tuple[int, list[int]]], None],
        ended: Ended,
    ) -> None:
        """Let several answers follow one prompt, a token of each at a time; put those finished."""
        # Sequences of their own begin with all rows of the prompt; nothing is copied.
        branch = {number: CONVERSATIONS + place for place, number in enumerate(group)}
        following = dict.fromkeys(group, scores)  # the same first scores for all
        try:
            for sequence in branch.values():
                self.runtime.share(memory.sequence, sequence, len(memory.rows))
            while True:
                for number, row in following.items():
                    group[number].step(row)
                    if group[number].ended:
                        put((number, group[number].ids))
                if ended():
                    raise Stopped
                live = {n: group[n].ids for n in following if not group[n].ended}
                if not live:
                    return
                # The latest token of each answer goes in at its own next position.
                new = self.runtime.decode(
                    [ids[-1] for ids in live.values()],
                    [len(memory.rows) + len(ids) - 1 for ids in live.values()],
                    [branch[number] for number in live],
                    [True] * len(live),
                )  # [live, V]
                following = dict(zip(live, new, strict=True))
        finally:
            for sequence in branch.values():
                self.runtime.crop(sequence, 0)

    def log_likelihoods(self, prompts: Sequence[Prompt], answer: str) -> np.ndarray:
        """Return the mean log-probability of the answer's tokens ``[n]``; see :class:`Engine`.

        What a prompt has in common with the one before it is not taken in again.

        Raises:
            ChatError: If llama.cpp fails.
        """
        memory = SequenceMemory()

        def work(put: Callable[[float], None], ended: Ended) -> None:
            for prompt in prompts:
                written, ids = self.prompts.write_on(prompt, answer)
                rows = _rows(written)
                with self._cache.holding(memory, rows[: -len(ids)], len(ids)):
                    # The last token's own scores are for what follows it, so it is not taken in.
                    new = rows[len(memory.rows) : -1]
                    scores = torch.from_numpy(self._cache.feed(memory, new, ended, len(ids)))
                    log_p = scores.log_softmax(dim=-1)  # [n, V]
                    put(float(log_p.gather(1, torch.tensor(ids)[:, None]).mean()))

        return np.array(list(iterate_in_thread(work, self._worker)))


def _rows(prompt: Prompt) -> list[PromptRow]:
    """Write a prompt as llama.cpp takes it in."""
    rows: list[PromptRow] = []
    for part in prompt.parts:
        if isinstance(part, Tensor):
            values = part.detach().float().cpu().numpy()  # [32, D]
            digest = sha256(values.tobytes()).digest()
            rows += [PhotoRow(digest, number, row) for number, row in enumerate(values)]
        else:
            rows += part
    return rows
