"""SkinGPT-4: a vision tower, a Q-Former, one linear projection, a language model."""

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.common.errors import DatasetError
from skingpt4.common.registry import registry
from skingpt4.common.schema import ModelConfig
from skingpt4.models.batching import DialogueEncoder, EncodedBatch
from skingpt4.models.llm import context_length, load_llm, load_tokenizer
from skingpt4.models.qformer import build_qformer, build_query_tokens
from skingpt4.models.vision import build_ln_vision, build_vision_tower
from skingpt4.models.weights import load_checkpoint, load_qformer_weights, load_vision_weights
from skingpt4.prompts import (
    IMAGE_PLACEHOLDER,
    Segment,
    get_prompt_style,
    load_prompts,
    with_image_slot,
)

logger = logging.getLogger(__name__)

# In place of a weight file: keep the part as it was built, at random.
RANDOM = "random"

Dialogue = Sequence[tuple[str | None, str]]


@registry.register_model("minigpt4")
@registry.register_model("skin_gpt4")
class SkinGPT4(nn.Module):
    """The whole model; every width is read from its parts.

    Args:
        config: The settled ``model`` section.
        llm_model: A causal LM; its width is the projection's output.
        llm_tokenizer: The tokenizer that belongs to it.
    """

    def __init__(
        self,
        config: ModelConfig,
        llm_model: PreTrainedModel,
        llm_tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        super().__init__()
        self.config = config
        self.visual_encoder = build_vision_tower(
            config.vit_model, config.image_size, config.drop_path_rate
        )
        self.visual_encoder.set_grad_checkpointing(config.use_grad_checkpoint)
        self.ln_vision = build_ln_vision(self.visual_encoder.embed_dim)
        self.Qformer = build_qformer(config.qformer, self.visual_encoder.embed_dim)
        self.query_tokens = build_query_tokens(config.num_query_token, self.Qformer)
        self.llm_model = llm_model
        self.llm_tokenizer = llm_tokenizer
        embeddings = cast(nn.Embedding, llm_model.get_input_embeddings())
        self.llama_proj = nn.Linear(self.Qformer.config.hidden_size, embeddings.embedding_dim)
        self.prompt_style = get_prompt_style(
            config.prompt_style, config.prompt_template, config.end_sym
        )
        self.prompts = load_prompts(config.prompt_path) if config.prompt_path else []
        self.encode_dialogues = DialogueEncoder(
            llm_tokenizer, config.num_query_token, config.max_txt_len, self.end_sym
        )

    @classmethod
    def from_config(cls, config: ModelConfig) -> "SkinGPT4":
        """Build the model, load its weight files and freeze what the config freezes.

        Raises:
            ConfigError: If the section contradicts itself.
            WeightsError: If a file is missing, damaged or does not fit.
        """
        tokenizer = load_tokenizer(config.llm_model)
        model = cls(config, load_llm(config.llm_model, config.freeze_llm), tokenizer)
        if config.vit_weights != RANDOM:
            load_vision_weights(model.visual_encoder, config.vit_weights)
        if config.q_former_model != RANDOM:
            load_qformer_weights(model, config.q_former_model)
        if config.ckpt:
            load_checkpoint(model, config.ckpt)
        model.freeze()
        return model

    @property
    def device(self) -> torch.device:
        """Where the projection, and so the prompt, lives."""
        return self.llama_proj.weight.device

    @property
    def end_sym(self) -> str:
        """Symbol that ends an answer."""
        return self.prompt_style.end_sym

    @property
    def notice(self) -> str:
        """Sentence to show wherever the model speaks; empty for none."""
        return self.config.notice

    @property
    def context_length(self) -> int:
        """How many tokens the language model can attend to."""
        return context_length(self.llm_model)

    def frozen_parts(self) -> dict[str, nn.Module]:
        """Return the parts that the config keeps as they are, by name."""
        parts: dict[str, nn.Module] = {}
        if self.config.freeze_vit:
            parts |= {"visual_encoder": self.visual_encoder, "ln_vision": self.ln_vision}
        if self.config.freeze_qformer:
            parts["Qformer"] = self.Qformer
        if self.config.freeze_llm:
            parts["llm_model"] = self.llm_model
        return parts

    def freeze(self) -> None:
        """Freeze what the config freezes: no gradients, evaluation mode. Logs what remains."""
        for part in self.frozen_parts().values():
            part.requires_grad_(False)
        self.query_tokens.requires_grad_(not self.config.freeze_qformer)
        self.train(self.training)
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        total = sum(p.numel() for p in self.parameters())
        frozen = ", ".join(self.frozen_parts()) or "nothing"
        logger.info("Frozen: %s; trainable: %d of %d parameters", frozen, trainable, total)

    def train(self, mode: bool = True) -> "SkinGPT4":
        """Switch the trained parts to training mode; frozen parts always stay in evaluation."""
        super().train(mode)
        for part in self.frozen_parts().values():
            part.eval()
        return self

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: ids ``[...]`` to ``[..., D]``."""
        return cast(Tensor, self.llm_model.get_input_embeddings()(ids.to(self.device)))

    def encode_query(self, image: Tensor) -> Tensor:
        """Return the Q-Former's outputs ``[B, 32, Dq]`` for photos ``[B, 3, H, W]``."""
        patches = self.ln_vision(self.visual_encoder(image.to(self.query_tokens)))
        everywhere = torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device)
        output = self.Qformer(
            query_embeds=self.query_tokens.expand(len(patches), -1, -1),
            encoder_hidden_states=patches,
            encoder_attention_mask=everywhere,
        )
        return cast(Tensor, output.last_hidden_state)

    def encode_img(self, image: Tensor) -> Tensor:
        """Encode photos ``[B, 3, H, W]`` as LLM inputs ``[B, 32, D]``."""
        return cast(Tensor, self.llama_proj(self.encode_query(image)))

    def forward(self, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the mean next-token loss on answer tokens.

        Args:
            samples: ``image [B, 3, H, W]`` (absent in text-only sets) and ``dialogue``, B lists
                of (question or None, answer); or upstream's ``image`` and ``text_input``.
        """
        dialogues = samples.get("dialogue") or [[(None, text)] for text in samples["text_input"]]
        has_image = "image" in samples
        prompt = random.choice(self.prompts) if has_image and self.prompts else None
        batch = self.encode_dialogues([self._segments(d, has_image, prompt) for d in dialogues])
        embeds = self._embed(batch, self.encode_img(samples["image"]) if has_image else None)
        output = self.llm_model(
            inputs_embeds=embeds,
            attention_mask=batch.attention_mask.to(self.device),
            labels=batch.labels.to(self.device),
        )
        return {"loss": output.loss}

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
