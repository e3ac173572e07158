"""The loss without wasted scores equals the library's own, in value and gradient."""

import inspect

import pytest
import torch
from transformers import AutoModelForCausalLM

from skingpt4.models.dialogue import IGNORE_INDEX, answer_loss
from tests.llm_families import FAMILIES, make_folder


def batch(width, vocabulary):
    """Two rows: one padded on the right, one with two answers."""
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(2, 9, width, generator=generator).requires_grad_()
    labels = torch.randint(0, vocabulary, (2, 9), generator=generator)
    mask = torch.ones_like(labels)
    mask[0, 7:] = 0
    labels[0, [0, 1, 2, 7, 8]] = IGNORE_INDEX
    labels[1, [0, 1, 2, 3, 6]] = IGNORE_INDEX
    return embeds, mask, labels


def without_columns(kind):
    """A family that cannot be told which positions to score."""

    class Plain(kind):
        def forward(self, inputs_embeds, attention_mask, use_cache=None, labels=None):
            return super().forward(
                inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels
            )

    return Plain


@pytest.mark.parametrize("family", [*FAMILIES, "no choice of columns"])
def test_it_equals_the_librarys_loss(family, tmp_path, monkeypatch):
    make_folder("llama" if family not in FAMILIES else family, tmp_path)
    llm = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    if family in FAMILIES:
        assert "logits_to_keep" in inspect.signature(type(llm).forward).parameters
    else:
        monkeypatch.setattr(llm, "__class__", without_columns(type(llm)))
    embeds, mask, labels = batch(32, llm.config.vocab_size)
    wanted = llm(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss
    (wanted_gradient,) = torch.autograd.grad(wanted, embeds)
    ours = answer_loss(llm, embeds, mask, labels)
    (our_gradient,) = torch.autograd.grad(ours, embeds)
    assert ours.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert torch.allclose(our_gradient, wanted_gradient, atol=1e-6)


def test_scores_are_made_for_answers_alone(tmp_path):
    make_folder("llama", tmp_path)
    llm = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    shapes = []
    llm.lm_head.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    embeds, mask, labels = batch(32, llm.config.vocab_size)
    labels[:, :6] = IGNORE_INDEX
    answer_loss(llm, embeds, mask, labels)
    assert shapes == [(2, 3, 32)]  # positions 5 to 7 score the labels at 6 to 8
