"""The contract of every engine: a prompt of texts and photos in, a stream of tokens out."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines.prompt_encoder import Prompt, PromptEncoder

if TYPE_CHECKING:
    from skingpt4.models.skin_gpt4 import SkinGPT4


@dataclass(frozen=True)
class Decoding:
    """How an answer is chosen; the order of the fields is that of upstream's ``answer``.

    Attributes:
        max_new_tokens: Longest answer, 1 or more.
        num_beams: Beams kept; 1 streams token by token.
        min_length: Tokens before the end token may come, 0 or more.
        top_p: Sampling keeps the likeliest tokens that sum to this, in (0, 1].
        repetition_penalty: Above 1 discourages tokens that the answer already has.
        length_penalty: Above 0 favours longer beams.
        temperature: 0 is greedy (deterministic); higher samples more freely.
        top_k: Sampling keeps this many likeliest tokens; 0 keeps all.
        seed: Makes sampling repeatable.

    Raises:
        ChatError: If a value is out of range.
    """

    max_new_tokens: int = 300
    num_beams: int = 1
    min_length: int = 1
    top_p: float = 0.9
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        rules = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "num_beams": (self.num_beams >= 1, "1 or more"),
            "min_length": (0 <= self.min_length <= self.max_new_tokens, "0 to max_new_tokens"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "temperature": (0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
        }
        for name, (holds, allowed) in rules.items():
            if not holds:  # NaN fails every comparison, so it ends here too
                sentence = f"{name} is {getattr(self, name)}; it must be {allowed}."
                raise ChatError(sentence, "setting")


@dataclass(frozen=True)
class BatchAnswer:
    """One answer of a batch.

    Attributes:
        text: Without stop string and special tokens.
        token_ids: All new tokens ``[n]``, the end token included.
        seconds_to_first: From the batch's start, or its own where answers are given one by one,
            to its first token.
        seconds: From the same start to its last token.
    """

    text: str
    token_ids: np.ndarray
    seconds_to_first: float
    seconds: float


class Engine(ABC):
    """Runs a language model, for any number of conversations at once.

    Args:
        model: Gives the tokenizer and the token embeddings.

    Attributes:
        prompts: Tokenises prompts and reads tokens.
        context_length: Most tokens of prompt and answer together; an engine with less room than
            the model lowers it, as soon as it knows.
        new_memory: Makes what keeps one conversation's earlier turns, to be passed to
            :meth:`stream`. It is freed when it is dropped. None if the engine keeps nothing, or
            keeps it on its own server.
        at_once: How many answers are worth asking for at the same time.
    """

    at_once = 1

    def __init__(self, model: "SkinGPT4") -> None:
        self.model = model
        self.prompts = PromptEncoder(model, model.llm_tokenizer)
        self.context_length: int = model.context_length
        self.new_memory: Callable[[], object | None] = lambda: None

    @abstractmethod
    def stream(
        self,
        prompt: Prompt,
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[list[int], None, None]:
        """Yield an answer's token ids as they come, the end token or stop string included.

        Setting ``cancel``, or closing the generator, ends generation within one token. An error
        during generation is raised to the reader. With the ``memory`` of the conversation, which
        one answer at a time may use, only what the prompt has in addition to earlier turns is
        computed.
        """

    @abstractmethod
    def draw(
        self,
        prompt: Prompt,
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Generator[tuple[int, list[int]], None, None]:
        """Yield (number, token ids) of independent answers, one a seed, as they are finished.

        The prompt is computed once for all. ``decoding.seed`` is not used. Setting ``cancel``,
        or closing the generator, ends all within one token; unfinished answers are left out.

        Raises:
            ChatError: If ``decoding`` asks for several beams.
        """

    def log_likelihoods(self, prompts: Sequence[Prompt], answer: str) -> np.ndarray:
        """Return how likely the same answer is after each prompt.

        Args:
            prompts: Each ends with text.
            answer: What follows that text, exactly as it is written on.

        Returns:
            Mean log-probability of the answer's tokens, natural logarithm, ``[n]``.

        Raises:
            ChatError: If the engine cannot tell, which is what one says that does not override
                this.
        """
        raise ChatError(
            "How likely an answer is cannot be asked of the engine "
            f"'{self.model.config.engine}'; set model.engine=transformers for it.",
            "engine_setting",
        )

    def generate_batch(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        stops: Sequence[str] = (),
        seeds: Sequence[int | None] | None = None,
        memories: Sequence[object | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer several prompts; here as many side by side as :attr:`at_once` says.

        Args:
            prompts: Of different conversations.
            decoding: For all of them; its ``seed`` is not used.
            stops: Strings that end an answer.
            seeds: One for each prompt; makes sampling repeatable.
            memories: One for each prompt, as :meth:`stream` takes it.

        Raises:
            ChatError: If ``decoding`` asks for what the engine cannot do.
        """

        def answer(prompt: Prompt, seed: int | None, memory: object | None) -> BatchAnswer:
            start, first, ids = time.perf_counter(), 0.0, list[int]()
            own = replace(decoding, seed=seed)  # beside others, yet as if it were alone
            for new_ids in self.stream(prompt, own, stops, memory=memory):
                ids += new_ids
                first = first or time.perf_counter() - start
            seconds = time.perf_counter() - start
            token_ids = np.array(ids, dtype=np.int64)
            return BatchAnswer(self.prompts.read(ids, stops), token_ids, first or seconds, seconds)

        none = [None] * len(prompts)
        # Threads only wait here: each answer is computed by the engine's own worker or server.
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(answer, prompts, seeds or none, memories or none))
