"""SkinGPT-4: a vision tower, a Q-Former, one linear projection, a language model.

With ``has_qformer: False`` patches joined by four take the Q-Former's place.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from timm.models.eva import Eva
from torch import Tensor, nn
from transformers import Blip2QFormerModel, PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, DatasetError, WeightsError
from skingpt4.common.registry import registry
from skingpt4.common.schema import ModelConfig
from skingpt4.models.compatibility import (
    LlmFacts,
    check_record,
    check_width,
    llm_facts,
    qformer_values,
    unverifiable,
    write_record,
)
from skingpt4.models.device import choose_placement
from skingpt4.models.dialogue import (
    FEATURES,
    IMAGE,
    DialogueEncoder,
    EncodedBatch,
    answer_loss,
    shows_photo,
)
from skingpt4.models.external_llm import (
    IN_PROCESS,
    check_checkpoint,
    check_engine,
    has_embeddings,
    is_elsewhere,
    load_elsewhere,
)
from skingpt4.models.gguf import gguf_embedding_values, is_gguf
from skingpt4.models.llm import build_meta_llm, context_length, is_random, load_llm, load_tokenizer
from skingpt4.models.qformer import (
    PATCHES_A_TOKEN,
    build_qformer,
    build_query_tokens,
    join_patches,
    joined_tokens,
)
from skingpt4.models.vision import (
    AbsentTower,
    Float32LayerNorm,
    build_ln_vision,
    build_vision_tower,
    set_key_bias,
    set_matrix_dtype,
)
from skingpt4.models.weights import (
    Sources,
    check_sources,
    load_sources,
    open_sources,
    projection_width,
)
from skingpt4.prompts import (
    IMAGE_PLACEHOLDER,
    Segment,
    get_prompt_style,
    load_prompts,
    with_image_slot,
)

logger = logging.getLogger(__name__)

# What a reader calls the parts.
PART_NAMES = {
    "visual_encoder": "vision tower",
    "ln_vision": "vision norm",
    "Qformer": "Q-Former",
    "query_tokens": "query tokens",
    "llama_proj": "projection",
    "llm_model": "language model",
}

Dialogue = Sequence[tuple[str | None, str]]


@registry.register_model("minigpt4")
@registry.register_model("skin_gpt4")
class SkinGPT4(nn.Module):
    """The whole model; every width is read from its parts.

    Args:
        config: The settled ``model`` section.
        llm_model: A causal LM; its width is the projection's output.
        llm_tokenizer: The tokenizer that belongs to it.
        vit_dtype: Of the vision tower's matrices; all else of the vision side is float32.

    Attributes:
        untrained: Names of the parts that hold random numbers.
    """

    visual_encoder: Eva
    ln_vision: Float32LayerNorm
    Qformer: Blip2QFormerModel
    query_tokens: nn.Parameter
    llama_proj: nn.Linear
    llm_model: PreTrainedModel

    def __init__(
        self,
        config: ModelConfig,
        llm_model: PreTrainedModel,
        llm_tokenizer: PreTrainedTokenizerBase,
        vit_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config
        self.vit_dtype = vit_dtype
        self.llm_model = llm_model
        self.llm_tokenizer = llm_tokenizer
        for name, build in self._builders().items():
            setattr(self, name, build())
        self.untrained = self._drawn(self._builders())
        self.prompt_style = get_prompt_style(
            config.prompt_style, config.prompt_template, config.end_sym
        )
        self.prompts = load_prompts(config.prompt_path) if config.prompt_path else []
        self.encode_dialogues = DialogueEncoder(
            llm_tokenizer, self.image_tokens, config.max_txt_len, self.end_sym
        )

    @classmethod
    def skeleton(cls, config: ModelConfig, vit_dtype: torch.dtype = torch.float32) -> "SkinGPT4":
        """Build the model on the meta device: all shapes, no weights.

        Raises:
            ConfigError: If the section contradicts itself.
            WeightsError: If the language model's configuration or tokenizer cannot be read.
        """
        tokenizer = load_tokenizer(config.llm_model)
        llm = build_meta_llm(config.llm_model)
        with torch.device("meta"):
            model = cls(config, llm, tokenizer, vit_dtype)
        model.freeze()
        return model

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        device: str | torch.device = "cpu",
        with_tower: bool = True,
        with_llm: bool = True,
    ) -> "SkinGPT4":
        """Build the model on a device, fill it and freeze what the config freezes.

        Every file is compared with the model's skeleton before the first weight is read. What no
        file fills is drawn at random. With another engine than ``transformers`` the language
        model stays on the meta device, but for its token embeddings.

        Args:
            config: The settled ``model`` section.
            device: Where the model stands.
            with_tower: Load the vision tower; without it, photos must come as features.
            with_llm: Load the language model; without it, photos can be encoded and no more.

        Raises:
            ConfigError: If the section contradicts itself.
            WeightsError: If a file is missing, damaged or does not fit.
        """
        check_engine(config)
        placement = choose_placement(config, device)
        model = cls.skeleton(config, placement.vit_dtype)
        sources = open_sources(config)
        model.check(sources)
        if is_elsewhere(config):
            check_checkpoint(sources.checkpoint, config)
            model.llm_model = load_elsewhere(config, placement)
        elif with_llm:
            model.llm_model = load_llm(config.llm_model, placement, config.freeze_llm)
        if not with_tower:
            sources = replace(sources, vision=None)
        load_sources(model, sources, placement.device)
        if not with_tower:
            model.visual_encoder = cast(Eva, AbsentTower(model.visual_encoder))
        model._complete(placement.device)
        if with_llm:
            model._check_record(sources)
        model.freeze()
        model._log_parts()
        return model

    def check(self, sources: Sources) -> None:
        """Compare the weight files with the model; reads no tensor.

        Raises:
            WeightsError: If the checkpoint belongs to other parts, or a file does not fit.
        """
        self._check_record(sources)
        check_sources(self, sources)

    def _check_record(self, sources: Sources) -> None:
        """Refuse a checkpoint of another language model, Q-Former or prompt form."""
        if sources.checkpoint is None:
            return
        path, record = sources.checkpoint.path, sources.checkpoint.record
        facts = self.llm_facts()
        sentences = check_record(record, self.config, facts, path, self._qformer_values())
        sentences = sentences or check_width(projection_width(sources.checkpoint), facts, path)
        if sentences:
            raise WeightsError(" ".join(sentences))
        if self.device.type != "meta" and (unknown := unverifiable(record)):
            logger.info("%s does not say with which %s it was trained", path, ", ".join(unknown))

    def _builders(self) -> dict[str, Callable[[], nn.Module | nn.Parameter]]:
        """Return how each part of the vision side is made, in the order of making."""
        config = self.config
        builders: dict[str, Callable[[], nn.Module | nn.Parameter]] = {
            "visual_encoder": self._build_tower,
            "ln_vision": lambda: build_ln_vision(self.visual_encoder.embed_dim),
        }
        if config.has_qformer:
            builders |= {
                "Qformer": lambda: build_qformer(config.qformer, self.visual_encoder.embed_dim),
                "query_tokens": lambda: build_query_tokens(config.num_query_token, self.Qformer),
            }
        return builders | {"llama_proj": self._build_projection}

    def _build_tower(self) -> Eva:
        config = self.config
        tower = build_vision_tower(config.vit_model, config.image_size, config.drop_path_rate)
        tower.set_grad_checkpointing(config.use_grad_checkpoint)
        set_matrix_dtype(tower, self.vit_dtype)
        return tower

    def _build_projection(self) -> nn.Linear:
        joined_width = PATCHES_A_TOKEN * self.visual_encoder.embed_dim
        width = self.Qformer.config.hidden_size if self.config.has_qformer else joined_width
        embeddings = cast(nn.Embedding, self.llm_model.get_input_embeddings())
        return nn.Linear(width, embeddings.embedding_dim)

    def _drawn(self, names: Iterable[str]) -> list[str]:
        """Name those of the parts just made that hold random numbers.

        Without a Q-Former the vision norm has no file: it stays as made, as upstream's does.
        """
        as_made = () if self.config.has_qformer else ("ln_vision",)
        return [PART_NAMES[name] for name in names if name not in as_made]

    def _complete(self, device: torch.device) -> None:
        """Draw at random what no file has filled, and note it; make the tower's buffers."""
        self.untrained = ["language model"] if is_random(self.config.llm_model) else []
        state = self.state_dict()
        for name, build in self._builders().items():
            own = {k: v for k, v in state.items() if k.split(".")[0] == name}
            filled = {k: v for k, v in own.items() if not v.is_meta}
            if len(filled) < len(own):
                with torch.device(device):
                    setattr(self, name, build())
                self.load_state_dict(filled, strict=False, assign=True)
                self.untrained += self._drawn([name])
        if isinstance(self.visual_encoder, Eva):
            set_key_bias(self.visual_encoder, device)

    @property
    def device(self) -> torch.device:
        """Where the projection, and so the prompt, lives."""
        return self.llama_proj.weight.device

    @property
    def image_tokens(self) -> int:
        """How many language model inputs one photo becomes."""
        if self.config.has_qformer:
            return self.config.num_query_token
        return joined_tokens(self.visual_encoder.patch_embed.num_patches)

    @property
    def end_sym(self) -> str:
        """Symbol that ends an answer."""
        return self.prompt_style.end_sym

    @property
    def notice(self) -> str:
        """What to show wherever the model speaks; empty for nothing."""
        if not self.untrained:
            return self.config.notice
        parts = ", ".join(self.untrained)
        return f"{self.config.notice} Untrained: {parts}. Answers mean nothing.".strip()

    @property
    def context_length(self) -> int:
        """How many tokens the language model can attend to; its engine may have less room."""
        return context_length(self.llm_model)

    def frozen_parts(self) -> dict[str, nn.Module]:
        """Return the parts that the config keeps as they are, by name."""
        parts: dict[str, nn.Module] = {}
        if self.config.freeze_vit:
            parts |= {"visual_encoder": self.visual_encoder, "ln_vision": self.ln_vision}
        if self.config.freeze_qformer and self.config.has_qformer:
            parts["Qformer"] = self.Qformer
        if self.config.freeze_llm:
            parts["llm_model"] = self.llm_model
        return parts

    def freeze(self) -> None:
        """Freeze what the config freezes: no gradients, evaluation mode."""
        for part in self.frozen_parts().values():
            part.requires_grad_(False)
        if self.config.has_qformer:
            self.query_tokens.requires_grad_(not self.config.freeze_qformer)
        self.train(self.training)

    def _log_parts(self) -> None:
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        total = sum(p.numel() for p in self.parameters())
        frozen = ", ".join(self.frozen_parts()) or "nothing"
        logger.info("Frozen: %s; trainable: %d of %d parameters", frozen, trainable, total)
        if self.untrained:
            logger.warning("Drawn at random: %s", ", ".join(self.untrained))

    def train(self, mode: bool = True) -> "SkinGPT4":
        """Switch the trained parts to training mode; frozen parts always stay in evaluation."""
        super().train(mode)
        for part in self.frozen_parts().values():
            part.eval()
        return self

    def llm_facts(self) -> LlmFacts:
        """Return what tells the language model from others; random numbers tell nothing."""
        name = self.config.llm_model
        facts = llm_facts(self.llm_model, name)
        if is_gguf(name):
            return replace(facts, embeddings=gguf_embedding_values(resolve(name)))
        drawn = self.config.freeze_llm and PART_NAMES["llm_model"] in self.untrained
        return replace(facts, embeddings=None) if drawn else facts

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint of this model must say about the parts it belongs to."""
        return write_record(self.config, self.llm_facts(), self._qformer_values())

    def _qformer_values(self) -> list[float] | None:
        """Return what tells the Q-Former from others; ``None`` if it is random and stays so."""
        config = self.config
        stays_random = config.freeze_qformer and PART_NAMES["Qformer"] in self.untrained
        if stays_random or not config.has_qformer:
            return None
        last = self.Qformer.config.num_hidden_layers - 1
        name = f"encoder.layer.{last}.output_query.dense.weight"
        return qformer_values(self.query_tokens, self.Qformer.get_parameter(name))

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: ids ``[...]`` to ``[..., D]``.

        Raises:
            ConfigError: If the engine looks them up itself and they are not loaded.
        """
        if is_elsewhere(self.config) and not has_embeddings(self.llm_model):
            raise ConfigError(
                f"The token embeddings of '{self.config.llm_model}' are not loaded, because the "
                f"engine '{self.config.engine}' looks them up itself; set "
                f"model.engine={IN_PROCESS} and model.llm_model to a Hugging Face folder."
            )
        return cast(Tensor, self.llm_model.get_input_embeddings()(ids.to(self.device)))

    def encode_patches(self, image: Tensor) -> Tensor:
        """Return the normed patch features ``[B, 1 + N, C]`` of photos ``[B, 3, H, W]``.

        In half precision the matrix products alone are half: the residual stream and all norms
        are float32, as in upstream.
        """
        half = self.vit_dtype != torch.float32
        precision = torch.autocast(self.device.type, self.vit_dtype) if half else nullcontext()
        with precision:
            features = self.visual_encoder(image.to(self.ln_vision.weight))
        return cast(Tensor, self.ln_vision(features))

    def encode_query(self, image: Tensor) -> Tensor:
        """Return what is projected for photos ``[B, 3, H, W]``: ``[B, image_tokens, Dq]``.

        These are the Q-Former's outputs, or joined patches where there is none.
        """
        patches = self.encode_patches(image)
        if not self.config.has_qformer:
            return join_patches(patches)
        everywhere = torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device)
        output = self.Qformer(
            query_embeds=self.query_tokens.expand(len(patches), -1, -1),
            encoder_hidden_states=patches,
            encoder_attention_mask=everywhere,
        )
        return cast(Tensor, output.last_hidden_state)

    def encode_img(self, image: Tensor) -> Tensor:
        """Encode photos ``[B, 3, H, W]`` as LLM inputs ``[B, image_tokens, D]``."""
        return self.project(self.encode_query(image))

    def project(self, features: Tensor) -> Tensor:
        """Return features ``[B, image_tokens, Dq]`` as LLM inputs ``[B, image_tokens, D]``."""
        return cast(Tensor, self.llama_proj(features.to(self.llama_proj.weight)))

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the mean next-token loss on answer tokens.

        Args:
            samples: ``image [B, 3, H, W]``, or ``features [B, image_tokens, Dq]`` as
                :meth:`encode_query` gives them (neither in text-only sets), and ``dialogue``, B
                lists of (question or None, answer); or upstream's ``image`` and ``text_input``.

        Raises:
            ConfigError: If another program runs the language model.
            DatasetError: If a text-only sample has no question.
        """
        if is_elsewhere(self.config):
            raise ConfigError(
                f"model.engine '{self.config.engine}' answers only; set model.engine={IN_PROCESS} "
                "to train."
            )
        dialogues = samples.get("dialogue") or [[(None, text)] for text in samples["text_input"]]
        has_photo = shows_photo(samples)
        prompt = random.choice(self.prompts) if has_photo and self.prompts else None
        batch = self.encode_dialogues([self._segments(d, has_photo, prompt) for d in dialogues])
        embeds = self._embed(batch, self._photo_embeds(samples) if has_photo else None)
        mask, labels = batch.attention_mask.to(self.device), batch.labels.to(self.device)
        return {"loss": answer_loss(self.llm_model, embeds, mask, labels)}

    def _photo_embeds(self, samples: Mapping[str, Any]) -> Tensor:
        """Return the photos of a batch as LLM inputs, from features where it brings some."""
        if FEATURES not in samples:
            return self.encode_img(samples[IMAGE])
        return self.project(samples[FEATURES])

    def _segments(
        self, dialogue: Dialogue, has_image: bool, prompt: str | None
    ) -> Sequence[Segment]:
        """Write one dialogue; without any prompt, the answer follows the photo directly."""
        question, answer = dialogue[0]
        if question is None and prompt is None:
            if not has_image:
                raise DatasetError("A text-only sample has no question; add a 'question' key.")
            return [
                Segment(IMAGE_PLACEHOLDER, is_target=False),
                Segment(answer + self.end_sym, is_target=True),
            ]
        first = cast(str, question or prompt)
        later = [(cast(str, q), a) for q, a in dialogue[1:]]
        opening = with_image_slot(first) if has_image else first
        return self.prompt_style.training([(opening, answer), *later])

    def _embed(self, batch: EncodedBatch, images: Tensor | None) -> Tensor:
        """Embed token ids ``[B, T]`` and put photo embeddings in their places: ``[B, T, D]``."""
        embeds = self.embed_tokens(batch.ids)
        if images is None:
            return embeds
        # A prompt may show its one photo several times.
        times_shown = (batch.is_image.sum(dim=1) // images.shape[1]).to(self.device)
        slots = batch.is_image.to(self.device).unsqueeze(-1)
        shown = images.repeat_interleave(times_shown, dim=0)
        return embeds.masked_scatter(slots, shown.to(embeds.dtype))
