# make demo: serve the page.  make test: run every test.  Each does all its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TINY := output/tiny

.PHONY: demo test lint weights ablation clean

demo: $(READY)
	$(BIN)/python demo.py

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

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
	rm -rf $(VENV) output
