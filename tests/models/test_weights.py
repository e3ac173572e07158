"""Weight files of the published forms, made small, through the real loading code."""

import pickle

import pytest
import torch

from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.errors import WeightsError
from skingpt4.models.key_maps import to_lavis_key, translate


def lavis_tensors(model):
    """What a LAVIS file holds: the query path under its names, and much that is not needed."""
    tensors = {
        to_lavis_key(name): value.clone()
        for name, value in model.state_dict().items()
        if name.startswith(("Qformer.", "query_tokens", "ln_vision."))
    }
    tensors |= {
        "Qformer.bert.embeddings.word_embeddings.weight": torch.zeros(8, 16),
        "Qformer.bert.embeddings.position_embeddings.weight": torch.zeros(8, 16),
        "Qformer.bert.embeddings.position_ids": torch.arange(8),
        "Qformer.bert.encoder.layer.0.intermediate.dense.weight": torch.zeros(32, 16),
        "Qformer.bert.encoder.layer.0.output.LayerNorm.bias": torch.zeros(16),
        "Qformer.cls.predictions.bias": torch.zeros(8),
        "t5_proj.weight": torch.zeros(4, 16),
        "visual_encoder.cls_token": torch.zeros(1, 1, 32),
    }
    return tensors


def eva_tensors(model):
    """What the EVA file holds: one block too many, in half precision, and a norm and head."""
    tensors = dict(model.visual_encoder.state_dict())
    extra = {k.replace("blocks.1.", "blocks.2."): v for k, v in tensors.items()}
    tensors |= extra | {"norm.weight": torch.ones(32), "head.weight": torch.ones(4, 32)}
    return {name: value.half() for name, value in tensors.items()}


@pytest.fixture
def source(make_model):
    """A model whose weights are written to files."""
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_().copy_(parameter.half().float())
    return model


@pytest.fixture
def files(source, tmp_path):
    torch.save(eva_tensors(source), tmp_path / "eva.pth")
    torch.save({"model": lavis_tensors(source)}, tmp_path / "blip2.pth")
    checkpoint = {
        "llama_proj.weight": source.llama_proj.weight.data,
        "llama_proj.bias": source.llama_proj.bias.data,
        "Qformer.bert.embeddings.position_ids": torch.arange(8),
        "llm_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8),
    }
    torch.save({"model": checkpoint, "epoch": 3}, tmp_path / "skingpt4.pth")
    return {
        "vit_weights": str(tmp_path / "eva.pth"),
        "q_former_model": str(tmp_path / "blip2.pth"),
        "ckpt": str(tmp_path / "skingpt4.pth"),
    }


def test_published_forms_load_and_compute_the_same(make_model, source, files):
    loaded = make_model(**files)
    image = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_img(image), source.encode_img(image))


def test_our_own_form_loads_too(make_model, source, tmp_path):
    path = tmp_path / "blip2.safetensors"
    save_tensors(path, lavis_tensors(source), {})
    loaded = make_model(q_former_model=str(path))
    torch.testing.assert_close(loaded.query_tokens, source.query_tokens)


def test_renaming_is_its_own_inverse(source):
    names = list(source.state_dict())
    assert [piece.target for piece in translate(map(to_lavis_key, names)).pieces] == names


def damaged(path, change):
    content = torch.load(path, weights_only=True)
    tensors = content.get("model", content)
    change(tensors)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("key", "change", "expected"),
    [
        ("vit_weights", lambda t: t.pop("cls_token"), r"1 missing \(cls_token\)"),
        ("vit_weights", lambda t: t.update(surprise=torch.ones(1)), r"1 unexpected \(surprise\)"),
        ("q_former_model", lambda t: t.pop("query_tokens"), r"1 missing \(query_tokens\)"),
        ("ckpt", lambda t: t.pop("llama_proj.bias"), r"1 missing \(llama_proj.bias\)"),
        (
            "ckpt",
            lambda t: t.update({"llama_proj.weight": torch.ones(64, 16)}),
            r"a language model 64 wide, but model.llm_model is 'llm\d' \(LlamaForCausalLM, 32 wide",
        ),
        (
            "ckpt",
            lambda t: t.update({"llama_proj.weight": torch.ones(32, 8)}),
            r"1 mis-shaped \(llama_proj.weight 32x8 for 32x16\)",
        ),
        (
            "vit_weights",
            lambda t: t.update(pos_embed=torch.ones(1, 4, 32)),
            r"1 mis-shaped \(pos_embed 1x4x32 for 1x5x32\)",
        ),
    ],
)
def test_every_surprise_is_refused_by_name(make_model, files, key, change, expected):
    damaged(files[key], change)
    with pytest.raises(WeightsError, match=expected):
        make_model(**files)


class Code:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("ran",))


def test_damaged_absent_and_unsafe_files_are_refused(make_model, files, tmp_path, capsys):
    with pytest.raises(WeightsError, match="does not exist"):
        make_model(vit_weights=str(tmp_path / "absent.pth"))
    whole = (tmp_path / "eva.pth").read_bytes()
    (tmp_path / "eva.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged or unsafe"):
        make_model(**files)
    (tmp_path / "eva.pth").write_bytes(pickle.dumps({"model": Code()}))
    with pytest.raises(WeightsError, match="damaged or unsafe"):
        make_model(**files)
    assert "ran" not in capsys.readouterr().out
    torch.save({"model": [1, 2]}, tmp_path / "eva.pth")
    with pytest.raises(WeightsError, match="no weight file"):
        make_model(**files)
