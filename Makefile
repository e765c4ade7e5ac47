# Two commands do everything a newcomer needs: `make demo` and `make test`. Both set up all they use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# One explicit torch: an open range would pull a build with gigabytes of GPU libraries.
TORCH := torch==2.13.0
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint test-vllm test-serving test-browser nano compare studio test-studio wheel clean

demo: $(VENV)/.demo
	$(BIN)/tdmm demo

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -m "not vllm"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-vllm: $(VENV)/.dev .venv-vllm/.installed
	$(BIN)/python -m pytest -m vllm tests/e2e/test_vllm.py

# The gateway on a real vLLM: clients, exactness, faults and the schema; node and curl where they are there.
test-serving: $(VENV)/.dev .venv-vllm/.installed
	$(BIN)/python -m pytest -m vllm tests/e2e/serving

# GLB files in the Khronos validator and in three.js; needs node, npm and Chromium.
test-browser: $(VENV)/.dev
	$(BIN)/python -m pytest tests/e2e/glb

# The page that `tdmm serve` shows: needs node and npm, copies a few modules of three.js beside it.
studio: serve/web/vendor/three.module.js

serve/web/vendor/three.module.js: serve/web/package.json serve/web/vendor.mjs
	cd serve/web && npm install --no-package-lock --no-audit --no-fund --silent
	cd serve/web && node vendor.mjs && rm -rf node_modules

# The page against a real server in a headless Chromium, with pictures; $STUDIO_URL names a server that runs already.
test-studio: $(VENV)/.dev studio
	$(BIN)/python -m pytest tests/serve/test_web.py tests/e2e/studio

nano: $(VENV)/.dev
	bash recipes/nano.sh

# Quantizers, rates, geometry and coefficients side by side, into the reports of the released codecs: about an hour.
compare: $(VENV)/.dev
	$(BIN)/tdmm train tokenizers/face_compare.yaml -o runs/face_compare
	$(BIN)/tdmm train tokenizers/body_compare.yaml -o runs/body_compare

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

# VTK draws without a display, but through EGL and a software renderer, which bare containers lack.
$(VENV)/.egl:
	@mkdir -p $(VENV)
	@ldconfig -p | grep -q libEGL.so.1 || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq libegl1 libgl1-mesa-dri; } \
	  || echo "rendering needs libEGL: apt-get install libegl1 libgl1-mesa-dri" >&2
	@touch $@

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/.demo: $(VENV)/.torch $(VENV)/.egl pyproject.toml
	$(BIN)/pip install --quiet -e ".[render]"
	touch $@

$(VENV)/.dev: $(VENV)/.torch $(VENV)/.egl pyproject.toml
	$(BIN)/pip install --quiet -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps flame-pytorch
	touch $@

# The CPU build of vLLM wants a torch and transformers of its own; four of its companions break every import of those.
.venv-vllm/.installed: tests/e2e/vllm-requirements.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --upgrade pip
	.venv-vllm/bin/pip install --quiet -r $<
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	touch $@

clean:
	rm -rf $(VENV) .venv-vllm out runs dist build
