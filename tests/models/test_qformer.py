"""The Q-Former against the arithmetic of BLIP-2's query path, written out plainly."""

import pytest
import torch
from torch.nn import functional

from skingpt4.common.errors import ConfigError
from skingpt4.models.qformer import build_qformer, build_query_tokens

HEADS = 2
EPS = 1e-12


def linear(x, w, name):
    return functional.linear(x, w[name + ".weight"], w[name + ".bias"])


def norm(x, w, name):
    return functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], EPS)


def attention(x, context, w, name):
    def heads(values):
        return values.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    q = heads(linear(x, w, name + ".attention.query"))
    k = heads(linear(context, w, name + ".attention.key"))
    v = heads(linear(context, w, name + ".attention.value"))
    scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    mixed = (scores @ v).transpose(1, 2).flatten(2)
    return norm(linear(mixed, w, name + ".output.dense") + x, w, name + ".output.LayerNorm")


def reference(w, queries, image, every_layer=False):
    """BERT's post-norm layers; every second one (0, 2, …) also attends to the image."""
    x = norm(queries, w, "layernorm")
    for number in (0, 1):
        layer = f"encoder.layer.{number}"
        x = attention(x, x, w, layer + ".attention")
        if number % 2 == 0 or every_layer:
            x = attention(x, image, w, f"encoder.layer.{number - number % 2}.crossattention")
        hidden = functional.gelu(linear(x, w, layer + ".intermediate_query.dense"))
        hidden = linear(hidden, w, layer + ".output_query.dense")
        x = norm(hidden + x, w, layer + ".output_query.LayerNorm")
    return x


@pytest.fixture
def parts(small_shapes):
    torch.manual_seed(3)
    qformer = build_qformer("test", vision_width=32).eval()
    with torch.no_grad():
        for parameter in qformer.parameters():
            parameter.normal_(std=0.4)
    return qformer, torch.randn(2, 4, 16), torch.randn(2, 5, 32)


def test_query_path_equals_the_plain_arithmetic(parts):
    qformer, queries, image = parts
    with torch.no_grad():
        out = qformer(query_embeds=queries, encoder_hidden_states=image).last_hidden_state
    expected = reference(qformer.state_dict(), queries, image)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=2e-6)


def test_the_comparison_would_catch_another_cross_attention_frequency(parts):
    qformer, queries, image = parts
    with torch.no_grad():
        out = qformer(query_embeds=queries, encoder_hidden_states=image).last_hidden_state
    wrong = reference(qformer.state_dict(), queries, image, every_layer=True)
    assert (out - wrong).abs().max() > 1e-2


def test_default_shape_is_the_papers():
    with torch.device("meta"):
        config = build_qformer("blip2", vision_width=1408).config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (
        12,
        768,
        12,
    )
    assert (config.cross_attention_frequency, config.layer_norm_eps) == (2, 1e-12)


def test_queries_are_drawn_with_berts_spread(small_shapes):
    torch.manual_seed(0)
    tokens = build_query_tokens(400, build_qformer("test", 32))
    assert tokens.shape == (1, 400, 16)
    assert tokens.std().item() == pytest.approx(0.02, rel=0.1)


def test_unknown_shape_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'huge' is unknown; known: blip2, tiny"):
        build_qformer("huge", 32)
