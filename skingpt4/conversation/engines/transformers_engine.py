"""Generation in this process by ``transformers``' ``generate``, streamed from a worker thread."""

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from skingpt4.conversation.engines.base import Decoding, PromptSegment, TextCutter
from skingpt4.models import SkinGPT4

# A character takes at most this many tokens (the bytes of its UTF-8 form).
TOKENS_PER_CHARACTER = 4


class TransformersEngine:
    """The model's own language model, in this process; safe to use from several threads.

    Args:
        model: Gives the language model, its tokenizer and its token embeddings.
        stopping_criteria: Further criteria that end every answer, as upstream's ``Chat`` takes.
    """

    def __init__(
        self, model: SkinGPT4, stopping_criteria: StoppingCriteriaList | None = None
    ) -> None:
        self.model = model
        self.tokenizer = model.llm_tokenizer
        self.stopping_criteria = stopping_criteria or StoppingCriteriaList()

    def count_tokens(self, segments: Sequence[PromptSegment]) -> int:
        """Return how many positions the prompt takes, the beginning-of-text token included."""
        ids = self._text_ids(segments)
        return sum(
            len(ids[i]) if isinstance(segment, str) else segment.shape[-2]
            for i, segment in enumerate(segments)
        )

    def stream(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, np.ndarray]:
        """Yield the answer in pieces and return its token ids; see :class:`Engine`.

        A beam search yields its answer once, when it is finished.
        """
        cutter = TextCutter(stops)
        tokens: SimpleQueue[list[int] | None] = SimpleQueue()
        closed = threading.Event()
        ends = [closed] if cancel is None else [closed, cancel]
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="skingpt4-generate") as worker:
            answer = worker.submit(self._generate, segments, decoding, stops, ends, tokens)
            # Wakes the reader however generation ended, so that it never waits for nothing.
            answer.add_done_callback(lambda _: tokens.put(None))
            try:
                ids: list[int] = []
                for new_ids in iter(tokens.get, None):
                    ids += new_ids
                    if piece := cutter.cut(self._decode(ids)):
                        yield piece
            finally:
                closed.set()
        final_ids = answer.result()
        if piece := cutter.cut(self._decode(final_ids)):
            yield piece
        return np.array(final_ids, dtype=np.int64)

    def _generate(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        stops: Sequence[str],
        ends: Sequence[threading.Event],
        tokens: SimpleQueue[list[int] | None],
    ) -> list[int]:
        embeds = self._embed(segments)
        criteria = [*self.stopping_criteria, _EventStop(ends), TextStop(self.tokenizer, stops)]
        ids = cast(Any, self.model.llm_model).generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:-1], dtype=torch.long, device=embeds.device),
            generation_config=self._generation_config(decoding),
            logits_processor=sampling(decoding, embeds.device),
            stopping_criteria=StoppingCriteriaList(criteria),
            streamer=_TokenStreamer(tokens) if decoding.num_beams == 1 else None,
        )
        return cast(list[int], ids[0].tolist())

    def _generation_config(self, decoding: Decoding) -> GenerationConfig:
        """Set every field that the model's own defaults could otherwise change unseen.

        Sampling is greedy search over noisy scores here (:class:`_GumbelNoise`).
        """
        end_ids = self.model.llm_model.generation_config.eos_token_id
        end_ids = self.tokenizer.eos_token_id if end_ids is None else end_ids
        pad_id = self.tokenizer.pad_token_id
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
            eos_token_id=end_ids,
            pad_token_id=self.tokenizer.eos_token_id if pad_id is None else pad_id,
        )

    @torch.no_grad()
    def _embed(self, segments: Sequence[PromptSegment]) -> Tensor:
        """Return the prompt's embeddings ``[1, L, D]``, where and as the LLM embeds its own text.

        Asking the embedding's output, not its weight, is right for a model that is spread over
        several devices or kept elsewhere until it is used.
        """
        texts = {
            i: self.model.embed_tokens(torch.tensor(ids, dtype=torch.long))
            for i, ids in self._text_ids(segments).items()
        }
        like = next(iter(texts.values()))
        rows = [
            texts[i] if isinstance(segment, str) else segment.flatten(end_dim=-2).to(like)
            for i, segment in enumerate(segments)
        ]
        return torch.cat(rows).unsqueeze(0)

    def _text_ids(self, segments: Sequence[PromptSegment]) -> dict[int, list[int]]:
        """Tokenise the text segments, each on its own as upstream does, by their place.

        The beginning-of-text token, where the tokenizer has one, comes first and once.
        """
        ids = {
            i: self.tokenizer(segment, add_special_tokens=False).input_ids
            for i, segment in enumerate(segments)
            if isinstance(segment, str)
        }
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids.get(0, [])[:1] != [bos]:
            ids[0] = [bos, *ids.get(0, [])]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


class _TokenStreamer(BaseStreamer):
    """Hands each new token to the reader."""

    def __init__(self, tokens: SimpleQueue[list[int] | None]) -> None:
        self.tokens = tokens

    def put(self, value: Tensor) -> None:
        """Pass on new ids (``generate`` first puts its token prompt, which is empty here)."""
        self.tokens.put(value.flatten().tolist())

    def end(self) -> None:
        """Do nothing: the end is told once ``generate`` has returned or raised."""


class _EventStop(StoppingCriteria):
    """Ends every row once one of the events is set."""

    def __init__(self, events: Sequence[threading.Event]) -> None:
        self.events = events

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        stopped = any(event.is_set() for event in self.events)
        return torch.full((len(input_ids),), stopped, device=input_ids.device)


class TextStop(StoppingCriteria):
    """Ends each row whose text has a stop string, whatever tokens it was written with.

    Searching the text's end is enough, because a row that had one before has ended.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.length = TOKENS_PER_CHARACTER * (1 + max(map(len, stops), default=0))

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end, given all new ids ``[B, L]``."""
        tails = self.tokenizer.batch_decode(
            input_ids[:, -self.length :], clean_up_tokenization_spaces=False
        )
        found = [any(stop in tail for stop in self.stops) for tail in tails]
        return torch.tensor(found, device=input_ids.device)


class _GumbelNoise(LogitsProcessor):
    """Turns greedy choice into sampling: argmax(log p + Gumbel noise) is distributed as p.

    The noise comes from a generator of its own, so a seed repeats an answer whatever other
    conversations do meanwhile, and nobody's global random state is touched.
    """

    def __init__(self, seed: int | None, device: torch.device) -> None:
        self.generator = torch.Generator(device)
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noise = torch.empty_like(scores).exponential_(generator=self.generator)
        return scores - noise.clamp(min=torch.finfo(noise.dtype).tiny).log()


def sampling(decoding: Decoding, device: torch.device) -> LogitsProcessorList:
    """Return what shapes the scores before one is chosen; nothing when decoding is greedy."""
    chain = LogitsProcessorList()
    if decoding.temperature == 0:
        return chain
    # A beam needs a second candidate beside the end token.
    keep = 1 if decoding.num_beams == 1 else 2
    chain.append(TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_k:
        chain.append(TopKLogitsWarper(decoding.top_k, min_tokens_to_keep=keep))
    if decoding.top_p < 1:
        chain.append(TopPLogitsWarper(float(decoding.top_p), min_tokens_to_keep=keep))
    chain.append(_GumbelNoise(decoding.seed, device))
    return chain
