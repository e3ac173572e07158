"""Conversing about photos: upload, ask, answer; upstream's call surface."""

import hashlib
import logging
import math
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skingpt4.common.config import Config
from skingpt4.common.errors import ChatError, ConfigError, PhotoError
from skingpt4.common.registry import registry
from skingpt4.conversation.conversation import MARKERS, Conversation, plain_text
from skingpt4.conversation.engines import (
    BatchAnswer,
    Decoding,
    Engine,
    Prompt,
    TextCutter,
    build_engine,
)
from skingpt4.conversation.engines.transformers_engine import TransformersEngine
from skingpt4.models.device import best_device
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import photo_form
from skingpt4.processors import build_processor
from skingpt4.processors.photo import open_photo
from skingpt4.prompts import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from transformers import StoppingCriteriaList

logger = logging.getLogger(__name__)

# Photos of one conversation whose embeddings are kept, and conversations whose earlier turns the
# engine keeps (of each, Llama-2-13B holds 0.8 GB per 1,000 tokens); the oldest go first.
MAX_PHOTOS = 32
MAX_MEMORIES = 8

MAX_QUESTION_CHARS = 4000
RECEIVED = "Received."

# Random crops belong to training; a chat shows the model the whole photo.
TRAINING_PROCESSOR = "blip2_image_train"
CHAT_PROCESSOR = "blip2_image_eval"

Photo = Image.Image | str | Path | bytes | np.ndarray | Tensor
TextAndIds = tuple[str, np.ndarray]
VisProcessor = Callable[[Image.Image], Tensor]


@dataclass
class CacheEntry:
    """What is kept of one conversation.

    Attributes:
        memory: The engine's memory of earlier turns.
        photos: Embeddings ``[1, image_tokens, D]`` by the photo's content.
    """

    memory: object | None = None
    photos: dict[bytes, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class ConversationCache:
    """Finds what is kept of a conversation, and drops it with the conversation.

    Conversations are told apart as objects, whatever they say.
    """

    # By id(): a conversation is a mutable dataclass, which has no hash, and must not be kept alive.
    _entries: dict[int, CacheEntry] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def entry(self, conv: Conversation) -> CacheEntry:
        """Return what is kept of a conversation, nothing yet if it is new."""
        with self._lock:
            if id(conv) not in self._entries:
                self._entries[id(conv)] = CacheEntry()
                # Without the lock, which the thread that drops the conversation may hold.
                weakref.finalize(conv, self._entries.pop, id(conv), None)
            return self._entries[id(conv)]

    @contextmanager
    def memory(self, conv: Conversation, engine: Engine) -> Iterator[object | None]:
        """Lend the engine's memory of a conversation, and keep it afterwards.

        Meanwhile there is none: only one answer at a time may use it, and another begins with an
        empty one.
        """
        entry = self.entry(conv)
        memory, entry.memory = entry.memory or engine.new_memory(), None
        try:
            yield memory
        finally:
            with self._lock:
                # Nothing is kept if the conversation was forgotten meanwhile.
                if self._entries.get(id(conv)) is entry:
                    entry.memory = memory
                    self._entries[id(conv)] = self._entries.pop(id(conv))  # the latest comes last
                entries = list(self._entries.values())
                holders = [other for other in entries if other.memory is not None]
                for oldest in holders[:-MAX_MEMORIES]:
                    oldest.memory = None

    def forget(self, conv: Conversation) -> None:
        """Drop all that is kept of a conversation; it may go on all the same."""
        with self._lock:
            self._entries.pop(id(conv), None)


class Chat:
    """Answers questions about photos; one object serves any number of conversations at once.

    A turn is atomic: when a question cannot be answered it is taken back, its photos stay, and the
    error is raised. What was computed for a conversation is kept for its next turn, until the
    conversation is dropped.

    Args:
        model: The model, in evaluation mode and in its place.
        vis_processor: Turns an RGB photo into a tensor ``[3, H, W]``.
        device: Where photos are encoded; by default where the model is.
        stopping_criteria: Further criteria that end every answer, given by the model in this
            process.
        engine: What runs the language model; by default the model in this process.
    """

    def __init__(
        self,
        model: SkinGPT4,
        vis_processor: VisProcessor,
        device: str | torch.device | None = None,
        stopping_criteria: "StoppingCriteriaList | None" = None,
        engine: Engine | None = None,
    ) -> None:
        self.model = model
        self.vis_processor = vis_processor
        self.device = torch.device(device or model.device)
        self.engine = engine or TransformersEngine(model, stopping_criteria)
        self._cache = ConversationCache()
        tokenizer = model.llm_tokenizer
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        # What must stay plain text when a user writes it, see ``plain_text``.
        self._markers = {*MARKERS, model.end_sym, *special}

    def new_conversation(self, photos: int = 0) -> Conversation:
        """Return a conversation in the form that the model was trained on.

        Args:
            photos: How many slots it begins with, one for each photo that was encoded already.
        """
        conv = Conversation.from_style(self.model.prompt_style)
        for _ in range(photos):
            conv.add_photo()
        return conv

    def forget(self, conv: Conversation) -> None:
        """Drop what is kept for a conversation's next turn at once; it may go on all the same."""
        self._cache.forget(conv)

    @torch.no_grad()
    def encode_photos(self, photos: Sequence[Photo]) -> list[Tensor]:
        """Open, process and encode photos together; each becomes ``[1, image_tokens, D]``.

        Whoever shows the model a photo does it here. ``Conversation.add_photo`` writes its slot.

        Args:
            photos: Each anything that ``open_photo`` opens, or a processed tensor ``[3, H, W]``
                or ``[1, 3, H, W]``.

        Raises:
            PhotoError: If one cannot be opened.
        """
        pixels = torch.cat([self._pixels(photo) for photo in photos])  # [B, 3, H, W]
        return list(self.model.encode_img(pixels.to(self.device)).split(1))  # B x [1, Q, D]

    def upload_img(self, image: Photo, conv: Conversation, img_list: list[Tensor]) -> str:
        """Add a photo to the conversation; one that it already has is not encoded again.

        Args:
            image: As for :meth:`encode_photos`.
            conv: Gets the photo's slot.
            img_list: Gets the photo's embeddings ``[1, image_tokens, D]``.

        Returns:
            ``"Received."``, as upstream.

        Raises:
            PhotoError: If the photo cannot be opened; nothing is added then.
        """
        pixels = self._pixels(image)
        # By content, not by name: the same photo may come as a file, as bytes or as a tensor.
        digest = hashlib.sha256(repr((pixels.dtype, tuple(pixels.shape))).encode())
        digest.update(pixels.detach().cpu().contiguous().numpy().tobytes())
        key, kept = digest.digest(), self._cache.entry(conv).photos
        if key not in kept:
            if len(kept) >= MAX_PHOTOS:
                del kept[next(iter(kept))]  # the oldest
            (kept[key],) = self.encode_photos([pixels])
        conv.add_photo()
        img_list.append(kept[key])
        return RECEIVED

    def _pixels(self, photo: Photo) -> Tensor:
        """Return the processed photo ``[1, 3, H, W]``."""
        if not isinstance(photo, Tensor):
            return self.vis_processor(open_photo(photo)).unsqueeze(0)
        batch = photo.unsqueeze(0) if photo.ndim == 3 else photo
        if batch.ndim != 4 or batch.shape[:2] != (1, 3):
            raise PhotoError(
                f"The photo's tensor has shape {list(photo.shape)}; pass [3, H, W] or [1, 3, H, W]."
            )
        return batch

    def ask(self, text: str, conv: Conversation) -> None:
        """Add a question; placeholders and separators in it are plain text.

        Raises:
            ChatError: If it is empty or longer than ``MAX_QUESTION_CHARS``; nothing is added then.
        """
        conv.add_question(self._plain(checked_question(text), conv))

    def answer(
        self,
        conv: Conversation,
        img_list: Sequence[Tensor],
        max_new_tokens: int = 300,
        num_beams: int = 1,
        min_length: int = 1,
        top_p: float = 0.9,
        repetition_penalty: float = 1.0,
        length_penalty: float = 1.0,
        temperature: float = 0.0,
        max_length: int | None = None,
        top_k: int = 0,
        seed: int | None = None,
    ) -> TextAndIds:
        """Answer the question and add the answer to the conversation.

        Args:
            conv: The conversation; its last messages are the question.
            img_list: Embeddings of its photos, in order.
            max_new_tokens: Longest answer.
            num_beams: Beams kept.
            min_length: Tokens before the end token may come.
            top_p: Sampling keeps the likeliest tokens that sum to this.
            repetition_penalty: Above 1 discourages repetition.
            length_penalty: Above 0 favours longer beams.
            temperature: 0 is greedy.
            max_length: Most tokens of prompt and answer together; by default the model's context.
            top_k: Sampling keeps this many tokens; 0 keeps all.
            seed: Makes sampling repeatable.

        Returns:
            The answer without stop string and special tokens, and all new token ids ``[n]``.

        Raises:
            ChatError: If there is no question, a setting is out of range, or the question does not
                fit the model's context.
        """
        settings: dict[str, Any] = {
            "max_new_tokens": max_new_tokens,
            "num_beams": num_beams,
            "min_length": min_length,
            "top_p": top_p,
            "repetition_penalty": repetition_penalty,
            "length_penalty": length_penalty,
            "temperature": temperature,
            "top_k": top_k,
            "seed": seed,
        }
        stream = self.stream_answer(conv, img_list, max_length=max_length, **settings)
        while True:
            try:
                next(stream)
            except StopIteration as end:
                return cast(TextAndIds, end.value)

    def stream_answer(
        self,
        conv: Conversation,
        img_list: Sequence[Tensor],
        *,
        cancel: threading.Event | None = None,
        max_length: int | None = None,
        **settings: Any,
    ) -> Generator[str, None, TextAndIds]:
        """Answer the question piece by piece; the generator returns what :meth:`answer` does.

        Setting ``cancel``, or closing the iterator, ends generation within one token; the
        conversation then holds the answer so far, or takes the question back if there is none yet.
        With several beams the whole answer comes as one piece.

        Args:
            conv: The conversation; its last messages are the question.
            img_list: Embeddings of its photos, in order.
            cancel: Stops the answer when set, from any thread.
            max_length: Most tokens of prompt and answer together; by default the model's context.
            settings: Fields of :class:`Decoding`.

        Raises:
            ChatError: As :meth:`answer`, when reading starts.
        """
        pieces: list[str] = []
        ids: list[int] = []
        stopped = True  # unless the answer comes to its own end
        try:
            decoding, stops = Decoding(**settings), self._stops(conv)
            prompt = self.prompt(conv, img_list, decoding.max_new_tokens, max_length)
            cutter = TextCutter(stops)
            with (
                self._cache.memory(conv, self.engine) as memory,
                closing(self.engine.stream(prompt, decoding, stops, cancel, memory)) as tokens,
            ):
                for new_ids in tokens:
                    is_first = not ids and decoding.num_beams == 1
                    # Who stops before the first word wants no answer; stopped beams hold one
                    # all the same, because it comes as a whole.
                    if is_first and cancel is not None and cancel.is_set():
                        break
                    ids += new_ids
                    # All ids are decoded again: a character may need several tokens.
                    if piece := cutter.cut(self.engine.prompts.decode(ids)):
                        pieces.append(piece)
                        yield piece
            stopped = cancel is not None and cancel.is_set()
        except Exception:
            pieces.clear()
            raise
        finally:
            # Also when the reader closes this: what was read stays as the answer.
            if pieces or not stopped:
                conv.append_message(conv.roles[1], self._plain("".join(pieces), conv))
            else:
                conv.drop_question()
        return "".join(pieces), np.array(ids, dtype=np.int64)

    def draw(
        self,
        conv: Conversation,
        img_list: Sequence[Tensor],
        seeds: Sequence[int],
        *,
        cancel: threading.Event | None = None,
        max_length: int | None = None,
        **settings: Any,
    ) -> Iterator[tuple[int, str]]:
        """Answer the question several times, independently, for little more than one answer.

        The conversation stays as it is, its question open. Setting ``cancel``, or closing the
        iterator, ends all answers; unfinished ones are left out.

        Args:
            conv: The conversation; its last messages are the question.
            img_list: Embeddings of its photos, in order.
            seeds: One for each answer.
            cancel: Stops the answers when set, from any thread.
            max_length: Most tokens of prompt and answer together; by default the model's context.
            settings: Fields of :class:`Decoding`; greedy answers would all be the same.

        Yields:
            (number, text) of each answer as it is finished, numbered as the seeds are.

        Raises:
            ChatError: As :meth:`answer`, when reading starts, or if several beams are asked for.
        """
        decoding = Decoding(**settings)
        prompt = self.prompt(conv, img_list, decoding.max_new_tokens, max_length)
        stops = self._stops(conv)
        with closing(self.engine.draw(prompt, decoding, seeds, stops, cancel)) as drawn:
            for number, ids in drawn:
                yield number, self.engine.prompts.read(ids, stops)

    def log_likelihoods(
        self, conv: Conversation, photo_lists: Sequence[Sequence[Tensor]], answer: str
    ) -> np.ndarray:
        """Return how likely an answer to the open question is for each variant of the photos.

        Args:
            conv: The conversation, which stays as it is; its last messages are the question.
            photo_lists: Embeddings of its photos, in order, once for each variant.
            answer: The text whose likelihood is asked for.

        Returns:
            Mean log-probability of the answer's tokens, natural logarithm, ``[n]``.

        Raises:
            ChatError: If there is no question or no answer, the engine cannot tell, or they do not
                fit the model's context.
        """
        # As the answer would stand in the history, where it was made plain.
        text = self._plain(answer, conv)
        if not text.strip():
            sentence = "The answer is empty, so its likelihood means nothing; name another."
            raise ChatError(sentence, "empty_answer")
        length = len(self.model.llm_tokenizer(text, add_special_tokens=False).input_ids)
        prompts = [self.prompt(conv, photos, length) for photos in photo_lists]
        # The style may part the role and what it says otherwise than it ends the open prompt.
        style, role = conv.style, conv.roles[1]
        written = f"{role}{style.role_sep}{text}".removeprefix(f"{role}{style.open_role_sep}")
        return self.engine.log_likelihoods(prompts, written)

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        photos: Sequence[Sequence[Tensor]],
        decoding: Decoding,
        seeds: Sequence[int | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer the open question of every conversation and add the answers to them.

        Nothing is added to any of them if one cannot be answered. What the engine does not
        compute at once, it is asked for as many side by side as its ``at_once`` says.

        Args:
            conversations: All of one style.
            photos: Embeddings of each one's photos, in order.
            decoding: How answers are chosen.
            seeds: One for each conversation; makes sampling repeatable.

        Raises:
            ChatError: If a question does not fit the model's context.
        """
        prompts = [
            self.prompt(conv, images, decoding.max_new_tokens)
            for conv, images in zip(conversations, photos, strict=True)
        ]
        stops = self._stops(conversations[0])
        # All prompts fit, so from here on only the engine can fail, before any answer is added.
        with ExitStack() as lent:
            memories = [
                lent.enter_context(self._cache.memory(conv, self.engine)) for conv in conversations
            ]
            answers = self.engine.generate_batch(prompts, decoding, stops, seeds, memories)
        for conv, answer in zip(conversations, answers, strict=True):
            conv.append_message(conv.roles[1], self._plain(answer.text, conv))
        return answers

    def prompt(
        self,
        conv: Conversation,
        img_list: Sequence[Tensor],
        max_new_tokens: int = 1,
        max_length: int | None = None,
    ) -> Prompt:
        """Return the open question's prompt, without the oldest turns where the context is full.

        The beginning-of-text token, the system line and every photo stay. Turns are left out a
        quarter of the context at a time: until the next quarter is full, the prompt then begins as
        it did the turn before, and what was computed for it serves again.

        Args:
            conv: The conversation, which stays as it is; its last messages are the question.
            img_list: Embeddings of its photos, in order.
            max_new_tokens: Room that is left for the answer.
            max_length: Most tokens of prompt and answer together; by default the model's context.

        Raises:
            ChatError: If there is no question, there are more or fewer photos than slots, or the
                question alone does not fit.
        """
        if not conv.has_question():
            raise ChatError("There is no question to answer; ask one first.", "no_question")
        limit = min(max_length or self.engine.context_length, self.engine.context_length)
        room, goal, dropped = limit - max_new_tokens, None, 0
        history = conv.copy()
        history.append_message(conv.roles[1], None)
        while True:
            texts = history.get_prompt().split(IMAGE_PLACEHOLDER)
            if len(texts) - 1 != len(img_list):
                raise ChatError(
                    f"The conversation has {len(texts) - 1} photo slots but {len(img_list)} "
                    "photos; upload each photo with upload_img, or start the conversation again.",
                )
            # Text, photo, text …; the last text's partner is None.
            segments = [part for pair in zip_longest(texts, img_list) for part in pair][:-1]
            prompt = self.engine.prompts.encode(segments)
            if goal is None:
                # Whole quarters of the limit go, as few as bring the prompt down to the room.
                quarter = max(1, limit // 4)
                goal = len(prompt) - max(0, math.ceil((len(prompt) - room) / quarter)) * quarter
            if len(prompt) <= goal or not history.drop_oldest_turn():
                break
            dropped += 1
        if len(prompt) > room:
            raise ChatError(
                f"The question with its photos takes {len(prompt)} tokens and the answer may take "
                f"{max_new_tokens}, but the limit is {limit}; shorten the question or answer.",
                "no_room",
            )
        if dropped:
            logger.info("Left the %d oldest turns out to fit %d tokens", dropped, limit)
        return prompt

    def _stops(self, conv: Conversation) -> list[str]:
        return sorted({conv.sep, self.model.end_sym} - {""})

    def _plain(self, text: str, conv: Conversation) -> str:
        return plain_text(text, {*self._markers, conv.sep})


def checked_question(text: str) -> str:
    """Return a question as it is asked.

    Raises:
        ChatError: If it is empty or longer than ``MAX_QUESTION_CHARS``.
    """
    # A browser can send half a surrogate pair, which no tokenizer takes.
    question = text.encode("utf-8", errors="replace").decode("utf-8").strip()
    if not question:
        raise ChatError("The question is empty; write one and send it again.", "no_text")
    if len(question) > MAX_QUESTION_CHARS:
        raise ChatError(
            f"The question has {len(question):,} characters, more than the limit of "
            f"{MAX_QUESTION_CHARS:,}; shorten it.",
            "long_question",
            length=len(question),
            limit=MAX_QUESTION_CHARS,
        )
    return question


def load_chat(
    cfg_path: str | Path | Sequence[str | Path],
    options: Sequence[str] = (),
    device: str | torch.device | None = None,
) -> Chat:
    """Build the model that a configuration describes, ready to chat.

    Args:
        cfg_path: YAML file, ours or upstream's, or several: each lies over those before it.
        options: ``a.b=c`` overrides.
        device: Where the model runs; by default the first GPU, else the CPU.

    Raises:
        ConfigError: If a part is untrained and ``model.allow_untrained`` is not set, or photos
            would have another size or other colours than the vision tower takes.
        UserError: If the configuration or a weight file is not usable.
    """
    return build_chat(Config.load(cfg_path, options), device)


def build_chat(config: Config, device: str | torch.device | None = None) -> Chat:
    """Build the model of a configuration that has been loaded; see :func:`load_chat`."""
    # Known before any weight is read, which takes minutes.
    if not config.model.ckpt:
        _refuse_untrained(config, ["projection"])
    # A chat has no data set of its own: the first usable one's processor counts (upstream's place
    # for it), then section ``preprocess``.
    named = [dataset.vis_processor.get("train") for dataset in config.datasets.values()]
    usable = [cfg for cfg in named if cfg and cfg.get("name") != TRAINING_PROCESSOR]
    chosen = usable[0] if usable else config.preprocess.vis_processor.get("eval")
    settings = {"name": CHAT_PROCESSOR, **(chosen or {})}
    photo = photo_form(config.model)
    processor = cast(VisProcessor, build_processor(settings, photo))
    place = torch.device(device or best_device())
    model = registry.get_model_class(config.model.arch).from_config(config.model, place)
    _refuse_untrained(config, model.untrained)
    model = model.eval()
    return Chat(model, processor, place, engine=build_engine(config.model, model))


def _refuse_untrained(config: Config, parts: Sequence[str]) -> None:
    if parts and not config.model.allow_untrained:
        raise ConfigError(
            f"The {' and the '.join(parts)} would be untrained and every answer nonsense; name the "
            "weights (model.ckpt holds the projection), or start all the same with "
            "--allow-untrained (model.allow_untrained=True)."
        )
