"""Generation by llama.cpp, for machines without a GPU: text as tokens, photos as embeddings.

llama.cpp gives the scores of the next token; it is chosen from them as the engine ``transformers``
does, with the same noise from the same seed.
"""

import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ChatError
from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.engines.base import Decoding, PromptSegment, TextCutter
from skingpt4.conversation.engines.decoding import TextStop, sampling
from skingpt4.conversation.engines.llama_cpp_runtime import LlamaRuntime, PhotoRow, Row, chunks
from skingpt4.conversation.engines.prompt_encoder import PromptEncoder
from skingpt4.conversation.engines.threads import follow
from skingpt4.models import SkinGPT4

CPU = torch.device("cpu")


class GrowingAnswer:
    """One answer, from its first token to its end.

    Args:
        model: Gives the tokenizer, and the tokens that end an answer.
        decoding: How it is chosen.
        stops: Strings that end it.

    Attributes:
        ids: Its tokens so far.
        ended: Whether it is whole.

    Raises:
        ChatError: If beams are asked for.
    """

    def __init__(self, model: SkinGPT4, decoding: Decoding, stops: Sequence[str]) -> None:
        if decoding.num_beams > 1:
            raise ChatError(
                f"num_beams is {decoding.num_beams}, but the engine 'llama_cpp' answers without "
                "beams; set it to 1, or set model.engine=transformers."
            )
        self.ids: list[int] = []
        self.ended = False
        self._least, self._most = decoding.min_length, decoding.max_new_tokens
        self._end_ids = _end_ids(model)
        self._stop = TextStop(model.llm_tokenizer, stops)
        self._shape_scores = _processors(decoding)

    def choose(self, scores: np.ndarray) -> int:
        """Add the next token and return it.

        Args:
            scores: Of all tokens, ``[vocabulary]``; changed.
        """
        if len(self.ids) < self._least:
            scores[self._end_ids] = -np.inf
        so_far = cast(torch.LongTensor, torch.tensor([self.ids], dtype=torch.long))
        shaped = self._shape_scores(so_far, torch.from_numpy(scores).unsqueeze(0))
        token = int(shaped.argmax())
        self.ids.append(token)
        self.ended = (
            token in self._end_ids
            or len(self.ids) == self._most
            or bool(self._stop(torch.tensor([self.ids]), None))
        )
        return token


def _processors(decoding: Decoding) -> LogitsProcessorList:
    """Return what shapes the scores, in the order of ``generate``."""
    chain: list[Any] = []
    if decoding.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)))
    return LogitsProcessorList([*chain, *sampling(decoding, CPU)])


def _end_ids(model: SkinGPT4) -> list[int]:
    """Return the tokens that end an answer."""
    ids = cast(Any, model.llm_model.generation_config).eos_token_id
    ids = model.llm_tokenizer.eos_token_id if ids is None else ids
    return [] if ids is None else [int(number) for number in np.atleast_1d(ids)]


# How many conversations keep their rows; another one takes the place of the longest unused.
CONVERSATIONS = 16

# Answers to one question that are drawn in step with each other.
DRAWS = 16


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody ended the work in progress."""


@dataclass(eq=False)
class Memory:
    """What the context holds of one conversation; once dropped, the next answer clears that.

    Attributes:
        rows: Its first rows, whose keys and values the context has.
        sequence: llama.cpp's number for it.
        used: When it was claimed last.
    """

    rows: list[Row] = field(default_factory=list)
    sequence: int = -1
    used: int = -1


class SequenceCache:
    """Gives each conversation a sequence of the context, as long as there is room.

    Args:
        runtime: With :data:`CONVERSATIONS` + :data:`DRAWS` sequences.
    """

    def __init__(self, runtime: LlamaRuntime) -> None:
        self.runtime = runtime
        self._seated: weakref.WeakSet[Memory] = weakref.WeakSet()
        self._taken: set[int] = set()
        self._clock = count()

    @contextmanager
    def holding(self, memory: Memory, rows: Sequence[Row], room: int) -> Iterator[None]:
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
            self._make_room(memory, len(rows) + room)
            yield
        except Stopped:
            pass
        except BaseException:
            self._forget(memory)
            raise

    def feed(
        self, memory: Memory, rows: Sequence[Row], ended: Callable[[], bool], wanted: int = 1
    ) -> np.ndarray:
        """Take rows in after those that a conversation has.

        Args:
            memory: The conversation's, held.
            rows: What comes next.
            ended: Asked between chunks whether somebody ended the work.
            wanted: After how many of the last rows the scores are wanted.

        Returns:
            The scores of what follows these rows, ``[wanted, vocabulary]``.

        Raises:
            ChatError: If llama.cpp fails.
            Stopped: If the work was ended.
        """
        scores: list[np.ndarray] = []
        left = len(rows)
        for chunk in chunks(rows):
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

    @contextmanager
    def branches(self, memory: Memory, number: int) -> Iterator[list[int]]:
        """Let sequences begin with all rows of a conversation, and give their numbers."""
        sequences = list(range(CONVERSATIONS, CONVERSATIONS + number))
        try:
            for sequence in sequences:
                self.runtime.share(memory.sequence, sequence, len(memory.rows))
            yield sequences
        finally:
            for sequence in sequences:
                self.runtime.crop(sequence, 0)

    def extend(self, memory: Memory, branches: Mapping[int, Sequence[int]]) -> np.ndarray:
        """Take the latest token of each branch in; return the scores of the next.

        Args:
            memory: What the branches began with.
            branches: Each one's tokens so far, by sequence.

        Returns:
            ``[branches, vocabulary]``, in the order of the branches.

        Raises:
            ChatError: If llama.cpp fails.
        """
        if not branches:
            return np.empty((0, 0))
        latest = [len(memory.rows) + len(ids) - 1 for ids in branches.values()]
        tokens = [ids[-1] for ids in branches.values()]
        return self.runtime.decode(tokens, latest, list(branches), [True] * len(branches))

    def _claim(self, memory: Memory, rows: Sequence[Row]) -> None:
        """Give a conversation a sequence that holds as many of the rows as are to be had."""
        self._clear_dropped()
        self._seat(memory)
        memory.used = next(self._clock)
        best = max(self._seated, key=lambda other: (_common(other.rows, rows), other.used))
        kept = _common(best.rows, rows)
        if best is not memory:
            self.runtime.crop(memory.sequence, 0)
            self.runtime.share(best.sequence, memory.sequence, kept)
        elif not self.runtime.crop(memory.sequence, kept):
            self.runtime.crop(memory.sequence, 0)
            kept = 0
        memory.rows = list(rows[:kept])

    def _clear_dropped(self) -> None:
        """Empty the sequences of conversations that no longer are."""
        for sequence in self._taken - {memory.sequence for memory in self._seated}:
            self.runtime.crop(sequence, 0)
            self._taken.discard(sequence)

    def _seat(self, memory: Memory) -> None:
        if memory in self._seated:
            return
        if len(self._taken) == CONVERSATIONS:
            self._forget(min(self._seated, key=lambda other: other.used))
        memory.sequence = min(set(range(CONVERSATIONS)) - self._taken)
        self._taken.add(memory.sequence)
        self._seated.add(memory)

    def _make_room(self, memory: Memory, needed: int) -> None:
        others = sorted(self._seated - {memory}, key=lambda other: other.used)
        while others and sum(len(o.rows) for o in others) + needed > self.runtime.positions:
            self._forget(others.pop(0))

    def _forget(self, memory: Memory) -> None:
        if memory in self._seated:
            self.runtime.crop(memory.sequence, 0)
            self._seated.discard(memory)
            self._taken.discard(memory.sequence)
        memory.rows = []


def _common(left: Sequence[Row], right: Sequence[Row]) -> int:
    """Return how many rows two prompts have in common at their beginning."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


# How soon one who waits for a turn sees that nobody wants it any more.
POLL_SECONDS = 0.05

Item = TypeVar("Item")

Put = Callable[[Item], None]

Ended = Callable[[], bool]


class LlamaCppEngine:
    """A GGUF file's language model; safe to use from several threads, which take turns.

    The rows of the latest conversations stay in llama.cpp's context, so that the next turn takes
    in only what is new.

    Args:
        model: Gives the tokenizer, the photos' embeddings and the length of the context.
        config: Its section; ``llm_model`` is the file.

    Raises:
        WeightsError: If llama.cpp cannot load the file.
    """

    at_once = 1

    def __init__(self, model: SkinGPT4, config: ModelConfig) -> None:
        self.model = model
        self.prompts = PromptEncoder(model)
        self.runtime = LlamaRuntime(
            resolve(config.llm_model),
            longest=model.context_length,
            sequences=CONVERSATIONS + DRAWS,
            gpu=model.device.type != "cpu",
        )
        model.engine_context = self.runtime.positions
        self._cache = SequenceCache(self.runtime)
        self._turn = threading.Lock()

    def new_memory(self) -> Memory:
        """Return what stands for a conversation's rows; dropping it lets go of them."""
        return Memory()

    def count_tokens(self, segments: Sequence[PromptSegment]) -> int:
        """Return how many positions the prompt takes, the beginning-of-text token included."""
        return self.prompts.count_tokens(segments)

    def stream(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[str, None, np.ndarray]:
        """Yield the answer in pieces and return its token ids; see :class:`Engine`.

        Raises:
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows, answer = self._rows(segments), GrowingAnswer(self.model, decoding, stops)
        own = memory if isinstance(memory, Memory) else self.new_memory()

        def work(put: Put[list[int]], ended: Ended) -> None:
            with self._cache.holding(own, rows, decoding.max_new_tokens):
                new = rows[len(own.rows) :]
                while not answer.ended:
                    token = answer.choose(self._cache.feed(own, new, ended)[-1])
                    put([token])
                    new = [token]

        tokens = self._follow(work, cancel)
        return (yield from self.prompts.read_answer(tokens, stops))

    def draw(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of each independent answer as it is finished; see :class:`Engine`.

        The question is taken in once, and as many answers as there is room for go on in step.

        Raises:
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows, memory = self._rows(segments), self.new_memory()
        room = (self.runtime.positions - len(rows)) // decoding.max_new_tokens
        size = max(1, min(room, DRAWS))
        settings = [replace(decoding, seed=seed) for seed in seeds]
        answers = [GrowingAnswer(self.model, own, stops) for own in settings]

        def work(put: Put[int], ended: Ended) -> None:
            for start in range(0, len(answers), size):
                group = dict(list(enumerate(answers))[start : start + size])
                with self._cache.holding(memory, rows, len(group) * decoding.max_new_tokens):
                    scores = self._cache.feed(memory, rows[len(memory.rows) :], ended)[-1]
                    self._continue(memory, group, scores, put, ended)

        with closing(self._follow(work, cancel)) as finished:
            for number in finished:
                text = self.prompts.decode(answers[number].ids)
                yield number, TextCutter(stops).cut(text)

    def _continue(
        self,
        memory: Memory,
        group: dict[int, GrowingAnswer],
        scores: np.ndarray,
        put: Put[int],
        ended: Ended,
    ) -> None:
        """Let several answers follow one prompt, a token of each at a time; put those finished."""
        with self._cache.branches(memory, len(group)) as sequences:
            seats = dict(zip(group, sequences, strict=True))
            following = dict.fromkeys(group, scores)
            while following:
                for number, row in following.items():
                    group[number].choose(row)
                    if group[number].ended:
                        put(number)
                if ended():
                    raise Stopped
                live = [number for number in following if not group[number].ended]
                new = self._cache.extend(
                    memory, {seats[number]: group[number].ids for number in live}
                )
                following = dict(zip(live, new, strict=True))

    def log_likelihoods(
        self, prompts: Sequence[Sequence[PromptSegment]], answer: str
    ) -> np.ndarray:
        """Return the mean log-probability of the answer's tokens ``[n]``; see :class:`Engine`.

        What a prompt has in common with the one before it is not taken in again.

        Raises:
            ChatError: If llama.cpp fails.
        """
        memory = self.new_memory()

        def work(put: Put[float], ended: Ended) -> None:
            for segments in prompts:
                ids = self.prompts.answer_ids(segments, answer)
                rows = self._rows([*segments[:-1], f"{segments[-1]}{answer}"])
                with self._cache.holding(memory, rows[: -len(ids)], len(ids)):
                    new = rows[len(memory.rows) : -1]
                    put(_mean_chance(self._cache.feed(memory, new, ended, len(ids)), ids))

        return np.array(list(self._follow(work)))

    def _rows(self, segments: Sequence[PromptSegment]) -> list[Row]:
        """Write a prompt as llama.cpp takes it in."""
        ids = self.prompts.text_ids(segments)
        rows: list[Row] = []
        for place, segment in enumerate(segments):
            rows += ids[place] if isinstance(segment, str) else _photo_rows(segment)
        return rows

    def _follow(
        self,
        work: Callable[[Put[Item], Ended], None],
        cancel: threading.Event | None = None,
    ) -> Generator[Item, None, None]:
        """Yield what ``work`` puts when its turn has come; raise what it raises.

        Setting ``cancel``, or closing the iterator, tells it to end.
        """

        def in_turn(put: Put[Item], closed: threading.Event) -> None:
            def ended() -> bool:
                return closed.is_set() or (cancel is not None and cancel.is_set())

            while not self._turn.acquire(timeout=POLL_SECONDS):
                if ended():
                    return
            try:
                work(put, ended)
            finally:
                self._turn.release()

        return follow(in_turn)


def _photo_rows(photo: Tensor) -> list[Row]:
    """Return the rows of a photo's embeddings ``[32, D]`` or ``[1, 32, D]``."""
    values = photo.detach().flatten(end_dim=-2).float().cpu().numpy()
    digest = sha256(values.tobytes()).digest()
    return [PhotoRow(digest, number, row) for number, row in enumerate(values)]


def _mean_chance(scores: np.ndarray, ids: Sequence[int]) -> float:
    """Return the mean log-probability of tokens, given the scores at each ``[n, vocabulary]``."""
    chances = torch.from_numpy(scores).log_softmax(dim=-1)
    return float(chances.gather(1, torch.tensor(ids)[:, None]).mean())
