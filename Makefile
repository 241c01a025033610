# Signet in two commands: `make demo` runs the main job on real clips, `make test` proves that everything works.

# The directory with WLASL_v0.3.json and clips/<video_id>.mp4. Empty: ../shared/wlasl if it is there, else data/wlasl.
WLASL ?=
export WLASL

PYTHON ?= $(firstword $(foreach p,python3.11 python3,$(shell $(p) -c 'import sys; sys.version_info[:2] == (3, 11) and print(sys.executable)' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
# The last release. proto/<release>.binpb is its contract.
RELEASE := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: bench-accuracy bench-attacks bench-extract bench-fuzz bench-presets bench-requests bench-serving-faults bench-soak bench-train help demo test lint format proto locks dashboards pictures bundled-model clean system up down logs ps stack-test

# Without an NVIDIA GPU its reservation is taken away. STORE=seaweedfs runs SeaweedFS instead of Silo. COMPOSE_FILE, in the
# environment or in .env, has the last word on both.
STORE ?= silo
GPU ?= $(shell nvidia-smi --list-gpus 2>/dev/null | head -n 1)
FILES = -f docker-compose.yml $(if $(GPU),,-f deploy/compose.cpu.yaml) $(if $(filter seaweedfs,$(STORE)),-f deploy/compose.seaweedfs.yaml)
COMPOSE = docker compose $(if $(COMPOSE_FILE)$(shell grep -s '^COMPOSE_FILE=' .env),,$(strip $(FILES)))

help:
	@echo 'make demo    extract, train, evaluate and serve on real clips: the main job, end to end'
	@echo 'make test    every check and test'
	@echo
	@echo 'make up      build and start the whole stack in containers; make logs, ps, down go with it'
	@echo 'make stack-test  build, run, kill and restart that stack with real clips on a real engine'
	@echo
	@echo 'make bench-accuracy  train every row of the accuracy table that has its landmarks in the store (hours), and print it'
	@echo 'make bench-presets   what each preset takes in time and memory, beside what it is worth'
	@echo 'make bench-train     how fast training is, and the ratio to a plain loop'
	@echo 'make bench-extract   how fast extraction is beside stock MediaPipe Holistic, and its memory (40 minutes)'
	@echo 'make bench-attacks   attack real services, and measure memory and legitimate calls meanwhile (10 minutes)'
	@echo 'make bench-fuzz      extract 10,000 mutated videos: none may crash, hang or be lost (30 minutes)'
	@echo 'make bench-requests  send 100,000 mutated requests: each must get a status, and memory must stay (10 minutes)'
	@echo 'make bench-serving-faults  promote, stop and kill the store under load: no call may fail (5 minutes)'
	@echo 'make bench-soak      send a million requests while versions change: no error, and memory must stay (hours)'
	@echo
	@echo 'make lint    only the checks: ruff, mypy, import contracts, buf'
	@echo 'make format  let ruff format and fix what it can'
	@echo 'make proto   generate signet/v1 and docs/api.md from proto/signet/v1 again'
	@echo 'make locks   write requirements.lock and deploy/locks again, after a change of the dependencies'
	@echo 'make dashboards  generate deploy/grafana/dashboards again'
	@echo 'make pictures  make the pictures of the README again, from a trained run (RUN=<run>)'
	@echo 'make bundled-model  train the model that comes with Signet again (15 minutes), into signet/pretrained/asl100'
	@echo 'make clean   remove the environment and caches; data/ stays'
	@echo
	@echo 'WLASL=<dir>  where WLASL_v0.3.json and clips/ are (default: ../shared/wlasl if there, else data/wlasl)'

demo: $(STAMP) system
	@$(BIN)/signet demo

# Side by side, a file's tests in one process; more than four would spend their time on starting servers.
test: $(STAMP) system
	@$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

bench-accuracy: $(STAMP) system
	@$(BIN)/python -m bench.accuracy $(ROWS)

bench-presets: $(STAMP) system
	@$(BIN)/python -m bench.presets

bench-train: $(STAMP) system
	@$(BIN)/python -m bench.train

bench-extract: $(STAMP) system
	@$(BIN)/python -m bench.extract $(ROWS)

bench-attacks: $(STAMP) system
	@$(BIN)/python -m bench.attacks $(NAMES)

bench-fuzz: $(STAMP) system
	@$(BIN)/python -m bench.fuzz

bench-requests: $(STAMP) system
	@$(BIN)/python -m bench.requests

bench-serving-faults: $(STAMP) system
	@$(BIN)/python -m bench.serving.faults

bench-soak: $(STAMP) system
	@$(BIN)/python -m bench.soak

# Images carry the commit that they were built from.
up:
	@echo 'running $(COMPOSE) up'
	@mkdir -p data/wlasl  # or Docker makes it, as root
	@$(if $(WLASL),WLASL_DIR='$(WLASL)') SIGNET_REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(COMPOSE) up --build --detach --wait
	@echo
	@echo "Recognizer   127.0.0.1:$${SIGNET_PORT:-50053}"
	@echo "Grafana      http://127.0.0.1:$${GRAFANA_PORT:-3000}"
	@echo "the store    http://127.0.0.1:$${STORE_CONSOLE_PORT:-9001}"
	@echo 'make logs shows what they do; make down stops them and keeps their data'

down:
	@$(COMPOSE) down

logs:
	@$(COMPOSE) logs --follow --tail 50

ps:
	@$(COMPOSE) ps

stack-test: $(STAMP) system
	@$(BIN)/pytest -m stack tests/stack -x -s $(PYTEST_ARGS)

# From a run in the store (SIGNET_STORE, default data/store), with Chromium.
pictures: $(STAMP)
	@$(BIN)/python -m docs.make_pictures $(RUN)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/$(RELEASE).binpb

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/signet/v1/*.proto
	$(BIN)/python -m docs.make_api

# Minutes: the package index tells pip each version and each hash.
locks: $(STAMP)
	@$(BIN)/python deploy/make_locks.py

dashboards: $(STAMP)
	$(BIN)/python -m deploy.grafana.build

bundled-model: $(STAMP) system
	@$(BIN)/python -m deploy.make_bundled_model $(or $(WLASL),data/wlasl)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made once, and again when what it is made from changes.
$(STAMP): pyproject.toml requirements.lock deploy/locks/cuda.lock deploy/install-locked
	@test -n '$(PYTHON)' || { echo 'Signet needs Python 3.11 and found none. Install it (Debian 12: apt-get install python3.11 python3.11-venv), or name it: make PYTHON=<path>'; exit 1; }
	@$(PYTHON) deploy/check_platform.py
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh deploy/debian-packages python3.11-venv
	$(PYTHON) -m venv $(VENV)
	sh deploy/install-locked $(BIN)/python requirements.lock
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# OpenCV in MediaPipe needs these two; what is there already is not installed again.
system: $(STAMP)
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libGL.so.1")' 2>/dev/null || sh deploy/debian-packages libgl1
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libgthread-2.0.so.0")' 2>/dev/null || sh deploy/debian-packages libglib2.0-0
