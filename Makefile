# The two commands: `make demo` runs the default study, `make test` tests all but Slurm.

PYTHON ?= python3.11
UV_VERSION := 0.13.8
BIN := .venv/bin
CORES ?= $(shell nproc)
STAMP := .venv/.handgap

.PHONY: setup demo smoke test test-slurm lint config lock clean

setup: $(STAMP)

$(STAMP): envs/requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r envs/requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -c "import bpy, cv2, mediapipe" || { echo "handgap: a system library is missing (the line above names it). On Debian: apt-get install libgl1 libegl1 libx11-6 libxi6 libxrender1 libxxf86vm1 libxfixes3 libxkbcommon0 libsm6 libgomp1"; exit 1; }
	touch $(STAMP)

demo: setup
	$(BIN)/snakemake --cores $(CORES) all
	$(BIN)/snakemake --cores 1 --report results/open/report.html all
	@echo "report: $(CURDIR)/results/open/report.html"

smoke: setup
	$(BIN)/snakemake --cores $(CORES) --configfile config/smoke.yaml -- all
	$(BIN)/snakemake --cores 1 --configfile config/smoke.yaml --report results/smoke/report.html -- all

# what many tests look at: made first, so that a clean clone skips none of them
MADE := results/models/open_mano.npz results/models/open_nimble_textures.npz \
	$(foreach asset,mobilesam efficientnet_lite0 hdri_bpy hdri_pmndrs,results/assets/$(asset)/asset.json)

test: setup
	$(BIN)/snakemake --cores $(CORES) --quiet all -- $(MADE)
	$(BIN)/python -m pytest

test-slurm: setup
	$(BIN)/python -m pytest tests/slurm

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

config: setup
	$(BIN)/python -m handgap.core.config.study config

lock:
	$(BIN)/uv pip compile envs/requirements.in --override envs/overrides.txt --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --output-file envs/requirements.lock

clean:
	rm -rf results/open results/smoke results/.state
