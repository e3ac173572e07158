"""Generation in this process by ``transformers``' ``generate``, streamed from a worker thread."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Cache,
    CompileConfig,
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines.base import Decoding, PromptSegment, TextCutter
from skingpt4.conversation.engines.decoding import (
    EventStop,
    RowWatch,
    TextStop,
    row_sampling,
    sampling,
)
from skingpt4.conversation.engines.kv_cache import KvMemory, StaticRooms
from skingpt4.conversation.engines.prompt_encoder import PromptEncoder
from skingpt4.conversation.engines.threads import follow, new_worker
from skingpt4.models import SkinGPT4

# Prompts that are scored in one pass; more need more memory and are no faster.
SCORED_AT_ONCE = 16

# The one thread that may run compiled steps: CUDA graphs stay with their thread.
COMPILED_WORKER = new_worker()


@dataclass(frozen=True)
class BatchAnswer:
    """One answer of a batch.

    Attributes:
        text: Without stop string and special tokens.
        token_ids: All new tokens ``[n]``, the end token included.
        seconds_to_first: From the batch's start to its first token.
        seconds: From the batch's start to the row's last token.
    """

    text: str
    token_ids: np.ndarray
    seconds_to_first: float
    seconds: float


class TransformersEngine:
    """The model's own language model, in this process; safe to use from several threads.

    Args:
        model: Gives the language model, its tokenizer and its token embeddings.
        stopping_criteria: Further criteria that end every answer, as upstream's ``Chat`` takes.
        compiling: Compiles the step that single answers are decoded by, on a GPU, where they are
            then given one after the other; None to compile nothing.
    """

    at_once = 1

    def __init__(
        self,
        model: SkinGPT4,
        stopping_criteria: StoppingCriteriaList | None = None,
        compiling: CompileConfig | None = None,
    ) -> None:
        self.model = model
        self.prompts = PromptEncoder(model)
        self.stopping_criteria = stopping_criteria or StoppingCriteriaList()
        self.compiling = compiling
        self._rooms = StaticRooms(model.llm_model) if compiling else None

    def new_memory(self) -> KvMemory:
        """Return room for the keys and values of one conversation."""
        return KvMemory()

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

        A beam search yields its answer once, when it is finished, and does not use the memory.
        """
        kept = memory if isinstance(memory, KvMemory) and decoding.num_beams == 1 else None

        def work(put: Callable[[list[int]], None], closed: threading.Event) -> None:
            events = _given(cancel, closed)
            if any(event.is_set() for event in events):
                return
            criteria = [EventStop(events), TextStop(self.prompts.tokenizer, stops)]
            streamer = _TokenStreamer(put) if decoding.num_beams == 1 else None
            ids = self._answer(segments, decoding, criteria, streamer, kept)
            if streamer is None:
                put(ids)

        tokens = follow(work, COMPILED_WORKER if self.compiling else None, cancel)
        # The beams that were stopped hold an answer all the same.
        unread = cancel if decoding.num_beams == 1 else None
        return (yield from self.prompts.read_answer(tokens, stops, unread))

    def draw(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of each independent answer; see :class:`Engine`."""
        _refuse_beams(decoding)

        def work(put: Callable[[tuple[int, list[int]]], None], closed: threading.Event) -> None:
            events = _given(cancel, closed)
            watch = self._watch(stops, len(seeds), lambda row, ids: put((row, ids)))
            rows = self._answer_rows(
                [segments] * len(seeds), decoding, seeds, [EventStop(events), watch]
            )
            if not any(event.is_set() for event in events):
                for row in watch.unended():
                    put((row, rows[row].tolist()))

        with closing(follow(work)) as ended:
            for row, ids in ended:
                yield row, TextCutter(stops).cut(self.prompts.decode(ids))

    def generate_batch(
        self,
        prompts: Sequence[Sequence[PromptSegment]],
        decoding: Decoding,
        stops: Sequence[str] = (),
        seeds: Sequence[int | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer several prompts in one pass; a prompt that comes again is computed once.

        Args:
            prompts: Text and photo segments of each.
            decoding: For all of them; its ``seed`` is not used.
            stops: Strings that end an answer.
            seeds: One for each prompt; makes sampling repeatable.

        Raises:
            ChatError: If ``decoding`` asks for several beams.
        """
        _refuse_beams(decoding)
        watch = self._watch(stops, len(prompts))
        rows = self._answer_rows(prompts, decoding, seeds or [None] * len(prompts), [watch])
        answers = []
        for row, length in zip(rows, watch.lengths, strict=True):
            token_ids = row[:length].cpu().numpy()
            text = TextCutter(stops).cut(self.prompts.decode(token_ids.tolist()))
            last = watch.seconds[len(token_ids) - 1]
            answers.append(BatchAnswer(text, token_ids, watch.seconds[0], last))
        return answers

    @torch.no_grad()
    def log_likelihoods(
        self, prompts: Sequence[Sequence[PromptSegment]], answer: str
    ) -> np.ndarray:
        """Return the mean log-probability of the answer's tokens ``[n]``; see :class:`Engine`."""
        starts = range(0, len(prompts), SCORED_AT_ONCE)
        scores = [self._score(prompts[i : i + SCORED_AT_ONCE], answer) for i in starts]
        return np.concatenate(scores)

    def _score(self, prompts: Sequence[Sequence[PromptSegment]], answer: str) -> np.ndarray:
        targets = [self.prompts.answer_ids(segments, answer) for segments in prompts]
        longest = max(map(len, targets))
        embeds, mask = _pad_left(
            [self.prompts.embed(_continued(segments, answer))[0] for segments in prompts]
        )
        logits = self._llm(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=_positions(mask),
            logits_to_keep=longest + 1,
            use_cache=False,
        ).logits
        return np.array(
            [_mean_log_probability(row[:-1], ids) for row, ids in zip(logits, targets, strict=True)]
        )

    @property
    def _llm(self) -> Any:
        """The language model; transformers types its methods too narrowly to be called."""
        return self.model.llm_model

    def _answer(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        criteria: Sequence[StoppingCriteria],
        streamer: BaseStreamer | None,
        memory: KvMemory | None,
    ) -> list[int]:
        """Answer one prompt, with and for the conversation's memory where there is one."""
        embeds = self.prompts.embed(segments)
        rows = embeds[0]
        cache = DynamicCache() if memory is None else memory.take(rows)
        room: Cache = cache
        if self._rooms and decoding.num_beams == 1:
            room = self._rooms.enter(cache, len(rows) + decoding.max_new_tokens)
        mask = torch.ones(embeds.shape[:-1], dtype=torch.long, device=embeds.device)
        chain = sampling(decoding, embeds.device)
        ids = self._generate(embeds, mask, decoding, chain, criteria, room, streamer)[0]
        if memory is not None:
            # The last token was chosen, but has not gone through the model.
            with torch.no_grad():
                rows = torch.cat([rows, self.model.embed_tokens(ids[:-1])])
            memory.keep(self._rooms.leave(room, len(rows)) if self._rooms else cache, rows)
        return cast(list[int], ids.tolist())

    @torch.no_grad()
    def _answer_rows(
        self,
        prompts: Sequence[Sequence[PromptSegment]],
        decoding: Decoding,
        seeds: Sequence[int | None],
        criteria: Sequence[StoppingCriteria],
    ) -> Tensor:
        """Return the new tokens ``[B, n]`` after each prompt, padded on the right.

        Prompts of unlike length are padded on the left and keep their own positions, so a row
        computes what it would compute alone, up to the rounding of floating-point sums.
        """
        unlike, places = _unlike(prompts)
        embeds, mask = _pad_left([self.prompts.embed(prompt)[0] for prompt in unlike])
        cache = DynamicCache()
        # All but the last row, which the first step feeds.
        self._llm.base_model(
            inputs_embeds=embeds[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=_positions(mask)[:, :-1],
            past_key_values=cache,
            use_cache=True,
        )
        rows = torch.tensor(places, device=embeds.device)
        cache.batch_select_indices(rows)
        chain = row_sampling(decoding, seeds, embeds.device)
        return self._generate(embeds[rows], mask[rows], decoding, chain, criteria, cache)

    def _generate(
        self,
        embeds: Tensor,
        mask: Tensor,
        decoding: Decoding,
        chain: LogitsProcessorList,
        criteria: Sequence[StoppingCriteria],
        cache: Cache,
        streamer: BaseStreamer | None = None,
    ) -> Tensor:
        """Return the new tokens ``[B, n]`` after ``[B, L, D]``; what the cache holds is skipped."""
        ids = self._llm.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=self._generation_config(decoding),
            logits_processor=chain,
            stopping_criteria=StoppingCriteriaList([*self.stopping_criteria, *criteria]),
            streamer=streamer,
        )
        return cast(Tensor, ids)

    def _watch(
        self,
        stops: Sequence[str],
        rows: int,
        on_end: Callable[[int, list[int]], None] = lambda row, ids: None,
    ) -> RowWatch:
        return RowWatch(TextStop(self.prompts.tokenizer, stops), self._end_ids(), rows, on_end)

    def _end_ids(self) -> int | list[int]:
        end_ids = self.model.llm_model.generation_config.eos_token_id
        return cast(
            int | list[int], self.prompts.tokenizer.eos_token_id if end_ids is None else end_ids
        )

    def _generation_config(self, decoding: Decoding) -> GenerationConfig:
        """Set every field that the model's own defaults could otherwise change unseen.

        Sampling is greedy search over noisy scores here (``engines/sampling.py``).
        """
        tokenizer = self.prompts.tokenizer
        pad_id = tokenizer.pad_token_id
        return GenerationConfig(
            do_sample=False,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_length,
            num_beams=decoding.num_beams,
            repetition_penalty=float(decoding.repetition_penalty),
            length_penalty=float(decoding.length_penalty),
            eos_token_id=self._end_ids(),
            pad_token_id=tokenizer.eos_token_id if pad_id is None else pad_id,
            compile_config=self.compiling,
            disable_compile=self.compiling is None,
        )


class _TokenStreamer(BaseStreamer):
    """Hands each new token to the reader."""

    def __init__(self, put: Callable[[list[int]], None]) -> None:
        self.hand_on = put

    def put(self, value: Tensor) -> None:
        """Pass on new ids (``generate`` first puts its token prompt, which is empty here)."""
        self.hand_on(value.flatten().tolist())

    def end(self) -> None:
        """Do nothing: the end is told once ``generate`` has returned or raised."""


def _refuse_beams(decoding: Decoding) -> None:
    if decoding.num_beams > 1:
        raise ChatError(
            f"num_beams is {decoding.num_beams}, but several answers at once are given without "
            "beams; set it to 1, or answer one by one."
        )


def _given(*events: threading.Event | None) -> list[threading.Event]:
    return [event for event in events if event is not None]


def _unlike(
    prompts: Sequence[Sequence[PromptSegment]],
) -> tuple[list[Sequence[PromptSegment]], list[int]]:
    """Return the different prompts, and for each prompt the place of its own among them.

    Photos are compared as objects: the same photo of the same conversation is one.
    """
    keys = [tuple(s if isinstance(s, str) else id(s) for s in prompt) for prompt in prompts]
    first = dict(zip(keys, prompts, strict=True))
    place = {key: i for i, key in enumerate(first)}
    return list(first.values()), [place[key] for key in keys]


def _continued(segments: Sequence[PromptSegment], answer: str) -> list[PromptSegment]:
    """Write the answer on at the end of a prompt's last text."""
    return [*segments[:-1], cast(str, segments[-1]) + answer]


def _mean_log_probability(logits: Tensor, ids: Sequence[int]) -> float:
    """Return the mean log-probability of the last tokens, given the scores ``[L, V]`` of all."""
    target = torch.tensor(ids, device=logits.device)
    own = logits[-len(ids) :].float().log_softmax(dim=-1).gather(1, target[:, None])
    return float(own.mean())


def _positions(mask: Tensor) -> Tensor:
    """Count positions ``[B, L]`` from each row's own beginning."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


def _pad_left(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack prompts ``[L_i, D]`` as ``[B, L, D]`` with an attention mask ``[B, L]``."""
    embeds = pad_sequence(list(rows), batch_first=True, padding_side="left")
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return embeds, pad_sequence(ones, batch_first=True, padding_side="left")
