"""Generation in this process by ``transformers``' ``generate``, streamed from a worker thread."""

import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, cast

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

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines.base import BatchAnswer, Decoding, Engine
from skingpt4.conversation.engines.decoding import RowWatch, StreamStop, TextStop, sampling
from skingpt4.conversation.engines.kv_cache import KvMemory, StaticCachePool
from skingpt4.conversation.engines.prompt_encoder import Prompt
from skingpt4.conversation.engines.threads import iterate_in_thread, new_worker

if TYPE_CHECKING:
    from skingpt4.models.skin_gpt4 import SkinGPT4

# Prompts that are scored in one pass; more need more memory and are no faster.
SCORED_AT_ONCE = 16

# The one thread that may run compiled steps: CUDA graphs stay with their thread.
COMPILED_WORKER = new_worker()


class TransformersEngine(Engine):
    """The model's own language model, in this process; safe to use from several threads.

    Args:
        model: Gives the language model, its tokenizer and its token embeddings.
        stopping_criteria: Further criteria that end every answer, as upstream's ``Chat`` takes.
        compiling: Compiles the step that single answers are decoded by, on a GPU, where they are
            then given one after the other; None to compile nothing.
    """

    def __init__(
        self,
        model: "SkinGPT4",
        stopping_criteria: StoppingCriteriaList | None = None,
        compiling: CompileConfig | None = None,
    ) -> None:
        super().__init__(model)
        self.new_memory = KvMemory
        # transformers types its models' methods too narrowly to be called.
        self._llm: Any = model.llm_model
        self.stopping_criteria = stopping_criteria or StoppingCriteriaList()
        self.compiling = compiling
        self._pool = StaticCachePool(model.llm_model) if compiling else None

    def stream(
        self,
        prompt: Prompt,
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[list[int], None, None]:
        """Yield an answer's token ids as they come; see :class:`Engine`.

        A beam search yields its answer once, when it is finished, and does not use the memory.
        """
        is_single = decoding.num_beams == 1
        # Beams would reorder the memory's keys and values among them.
        kept = memory if isinstance(memory, KvMemory) and is_single else None

        def work(put: Callable[[list[int]], None], ended: Callable[[], bool]) -> None:
            if ended():
                return
            embeds = self.prompts.embed(prompt)  # [1, L, D]
            rows = embeds[0]  # [L, D]
            # The model grows a dynamic cache; a compiled step needs one whose size stays.
            dynamic = DynamicCache() if kept is None else kept.take(rows)
            cache: Cache = dynamic
            if self._pool and is_single:
                cache = self._pool.acquire(dynamic, len(rows) + decoding.max_new_tokens)
            (ids,) = self._generate(
                embeds,
                torch.ones(embeds.shape[:-1], dtype=torch.long, device=embeds.device),
                decoding,
                sampling(decoding, [decoding.seed], embeds.device),
                [
                    StreamStop(ended, put if is_single else None),
                    TextStop(self.prompts.tokenizer, stops),
                ],
                cache,
            )
            if not is_single:
                put(ids.tolist())
            if kept is not None:
                # The last token was chosen, but has not gone through the model.
                with torch.no_grad():
                    rows = torch.cat([rows, self.model.embed_tokens(ids[:-1])])
                kept.keep(self._pool.release(cache, len(rows)) if self._pool else dynamic, rows)

        return iterate_in_thread(work, COMPILED_WORKER if self.compiling else None, cancel)

    def draw(
        self,
        prompt: Prompt,
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Generator[tuple[int, list[int]], None, None]:
        """Yield (number, token ids) of each independent answer; see :class:`Engine`."""

        def work(put: Callable[[tuple[int, list[int]]], None], ended: Callable[[], bool]) -> None:
            text_stop = TextStop(self.prompts.tokenizer, stops)
            watch = RowWatch(text_stop, self.prompts.end_ids, lambda row, ids: put((row, ids)))
            prompts = [prompt] * len(seeds)
            rows = self._generate_rows(prompts, decoding, seeds, [StreamStop(ended), watch])
            if ended():
                return
            # What is left are the answers that were cut at the greatest length.
            for row, ids in enumerate(rows.tolist()):
                if row not in watch.lengths:
                    put((row, ids))

        return iterate_in_thread(work, cancel=cancel)

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        stops: Sequence[str] = (),
        seeds: Sequence[int | None] | None = None,
        memories: Sequence[object | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer several prompts in one pass, which uses no memories; see :class:`Engine`.

        A prompt that comes again is computed once.

        Raises:
            ChatError: If ``decoding`` asks for several beams.
        """
        text_stop = TextStop(self.prompts.tokenizer, stops)
        watch = RowWatch(text_stop, self.prompts.end_ids)
        rows = self._generate_rows(prompts, decoding, seeds or [None] * len(prompts), [watch])
        answers = []
        for number, row in enumerate(rows.tolist()):
            ids = row[: watch.lengths.get(number)]  # what follows is padding
            last = watch.seconds[len(ids) - 1]
            text = self.prompts.read(ids, stops)
            answers.append(BatchAnswer(text, np.array(ids), watch.seconds[0], last))
        return answers

    @torch.no_grad()
    def log_likelihoods(self, prompts: Sequence[Prompt], answer: str) -> np.ndarray:
        """Return the mean log-probability of the answer's tokens ``[n]``; see :class:`Engine`."""
        scores = []
        for start in range(0, len(prompts), SCORED_AT_ONCE):
            some = prompts[start : start + SCORED_AT_ONCE]
            written = [self.prompts.write_on(prompt, answer) for prompt in some]
            rows = [self.prompts.embed(prompt)[0] for prompt, _ in written]  # [L_i, D] each
            embeds, mask, positions = _pad_left(rows)
            logits = self._llm(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=positions,
                # Only the rows before the answers' tokens; all would be a large matrix.
                logits_to_keep=max(len(ids) for _, ids in written) + 1,
                use_cache=False,
            ).logits  # [B, longest + 1, V]
            for row, (_, ids) in zip(logits, written, strict=True):
                # Each row of scores is for the token after it, so the last is for none.
                log_p = row[-1 - len(ids) : -1].float().log_softmax(dim=-1)  # [n, V]
                target = torch.tensor(ids, device=log_p.device)
                scores.append(float(log_p.gather(1, target[:, None]).mean()))
        return np.array(scores)

    @torch.no_grad()
    def _generate_rows(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        seeds: Sequence[int | None],
        criteria: Sequence[StoppingCriteria],
    ) -> Tensor:
        """Return the new tokens ``[B, n]`` after each prompt, padded on the right.

        Prompts of unlike length are padded on the left and keep their own positions, so a row
        computes what it would compute alone, up to the rounding of floating-point sums.
        """
        if decoding.num_beams > 1:
            raise ChatError(
                f"num_beams is {decoding.num_beams}, but several answers at once are given without "
                "beams; set it to 1, or answer one by one.",
                "engine_setting",
            )
        # Each different prompt goes through the model once. Photos are compared as objects: the
        # same photo of the same conversation is one.
        keys = [tuple(s if isinstance(s, str) else id(s) for s in p.segments) for p in prompts]
        unlike = dict(zip(keys, prompts, strict=True))
        places = {key: place for place, key in enumerate(unlike)}
        embeds, mask, positions = _pad_left([self.prompts.embed(p)[0] for p in unlike.values()])
        cache = DynamicCache()
        # All but the last row, which the first step feeds.
        self._llm.base_model(
            inputs_embeds=embeds[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            past_key_values=cache,
            use_cache=True,
        )
        rows = torch.tensor([places[key] for key in keys], device=embeds.device)  # [B]
        cache.batch_select_indices(rows)
        chain = sampling(decoding, seeds, embeds.device)
        return self._generate(embeds[rows], mask[rows], decoding, chain, criteria, cache)

    def _generate(
        self,
        embeds: Tensor,
        mask: Tensor,
        decoding: Decoding,
        chain: LogitsProcessorList,
        criteria: Sequence[StoppingCriteria],
        cache: Cache,
    ) -> Tensor:
        """Return the new tokens ``[B, n]`` after ``[B, L, D]``; what the cache holds is skipped."""
        tokenizer = self.prompts.tokenizer
        pad_id = tokenizer.pad_token_id
        # Every field is set that the model's own defaults could otherwise change unseen. Sampling
        # is greedy search over noisy scores here (``decoding.GumbelNoise``).
        config = GenerationConfig(
            do_sample=False,
            temperature=1.0,
            top_k=50,
            top_p=1.0,
            max_new_tokens=decoding.max_new_tokens,
            min_new_tokens=decoding.min_length,
            num_beams=decoding.num_beams,
            repetition_penalty=float(decoding.repetition_penalty),
            length_penalty=float(decoding.length_penalty),
            eos_token_id=self.prompts.end_ids or None,
            pad_token_id=tokenizer.eos_token_id if pad_id is None else pad_id,
            compile_config=self.compiling,
            disable_compile=self.compiling is None,
        )
        ids = self._llm.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=config,
            logits_processor=chain,
            stopping_criteria=StoppingCriteriaList([*self.stopping_criteria, *criteria]),
        )
        return cast(Tensor, ids)


def _pad_left(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Stack prompts ``[L_i, D]`` as ``[B, L, D]`` with an attention mask and positions ``[B, L]``.

    Positions count from each row's own beginning.
    """
    embeds = pad_sequence(list(rows), batch_first=True, padding_side="left")
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    mask = pad_sequence(ones, batch_first=True, padding_side="left")
    return embeds, mask, (mask.cumsum(dim=-1) - 1).clamp(min=0)
