"""Precision and place by what the device can do."""

import pytest
import torch

from skingpt4.common.errors import ConfigError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.device import best_device, choose_placement

FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
V100, AMPERE, HOPPER = (7, 0), (8, 0), (9, 0)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are GPUs of one compute capability."""

    def pretend(capability=AMPERE, count=1):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return pretend


@pytest.mark.parametrize(
    ("capability", "llm"), [(V100, FP16), ((7, 5), FP16), (AMPERE, BF16), (HOPPER, BF16)]
)
def test_gpus_compute_the_llm_in_what_they_have(gpus, capability, llm):
    gpus(capability)
    placement = choose_placement(ModelConfig(), "cuda:0")
    assert (placement.vit_dtype, placement.llm_dtype) == (FP16, llm)
    assert placement.device == torch.device("cuda", 0)


def test_without_a_gpu():
    cpu = choose_placement(ModelConfig(), "cpu")
    assert (cpu.vit_dtype, cpu.llm_dtype, cpu.quantization, cpu.device_map) == (FP32, FP32, "", "")
    apple = choose_placement(ModelConfig(), "mps")
    assert (apple.vit_dtype, apple.llm_dtype) == (FP16, FP16)


def test_the_config_overrides(gpus):
    asked = choose_placement(ModelConfig(vit_precision="bf16", llm_dtype="bf16"), "cpu")
    assert (asked.vit_dtype, asked.llm_dtype) == (BF16, BF16)
    gpus(HOPPER)
    asked = choose_placement(ModelConfig(vit_precision="fp32", llm_dtype="fp16"), "cuda")
    assert (asked.vit_dtype, asked.llm_dtype) == (FP32, FP16)
    assert choose_placement(ModelConfig(vit_precision="auto"), "cuda").vit_dtype == FP16


def test_upstreams_fp16_means_auto_on_a_cpu_only(gpus):
    config = ModelConfig(vit_precision="fp16")
    assert choose_placement(config, "cpu").vit_dtype == FP32
    gpus(V100)
    assert choose_placement(config, "cuda").vit_dtype == FP16


def test_what_is_trained_is_float32(gpus):
    gpus(HOPPER)
    placement = choose_placement(ModelConfig(freeze_llm=False), "cuda")
    assert placement.llm_dtype == FP32
    placement = choose_placement(ModelConfig(freeze_vit=False, vit_precision="auto"), "cuda")
    assert placement.vit_dtype == FP32


def test_low_resource_is_int8_on_a_gpu_and_nothing_elsewhere(gpus, caplog):
    gpus(HOPPER)
    placement = choose_placement(ModelConfig(low_resource=True), "cuda")
    assert (placement.quantization, placement.llm_dtype) == ("int8", FP16)
    both = ModelConfig(low_resource=True, quantization="nf4")
    assert choose_placement(both, "cuda").quantization == "nf4"
    assert choose_placement(both, "cuda").llm_dtype == BF16
    with caplog.at_level("INFO"):
        assert choose_placement(ModelConfig(low_resource=True), "cpu").quantization == ""
    assert "low_resource has no effect on 'cpu'" in caplog.text
    assert choose_placement(ModelConfig(quantization="int8"), "cpu").quantization == "int8"


def test_a_quantised_language_model_cannot_be_trained():
    with pytest.raises(ConfigError, match=r"'nf4' and model.freeze_llm False contradict"):
        choose_placement(ModelConfig(quantization="nf4", freeze_llm=False), "cpu")


def test_only_gpus_are_spread_over(gpus):
    gpus(count=4)
    assert choose_placement(ModelConfig(device_map="auto"), "cuda:0").device_map == "auto"
    assert choose_placement(ModelConfig(device_map="auto"), "cpu").device_map == ""


def test_the_best_device(gpus, monkeypatch):
    gpus(count=2)
    assert best_device(1) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"There is no GPU 2: this machine has 2"):
        best_device(2)
    gpus(count=0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device(0) == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert best_device(3) == torch.device("cpu")
