# Two commands matter: `make book` and `make test`. Each makes .venv from constraints.txt, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation
HTML   := _build/html
PORT   ?= 8000

# Tests run side by side in so many processes, each on one thread.
WORKERS ?= 2

# `make test PINS=` installs the newest versions instead, as the weekly run does.
PINS   ?= constraints.txt

export OMP_NUM_THREADS ?= 2
export PYTHONHASHSEED  ?= 0

.PHONY: help book serve test notebooks bench lint address constraints clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

book: $(VENV)/.book  ## build the book into _build/html (warnings are errors)
	$(BIN)/jupyter-book build book --path-output . --config _config.yml --toc $(CURDIR)/_toc.yml \
	  -W -n --keep-going --quiet
	@echo "The book is at $(HTML)/index.html"

serve: book  ## build, then show the book at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(HTML) $(PORT)

test: $(VENV)/.test book  ## run every test and re-execute every notebook
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

notebooks: $(VENV)/.test  ## execute the notebooks in place (NOTEBOOKS=book/a/b.ipynb for one)
	$(BIN)/python tools/notebooks.py $(NOTEBOOKS)

bench: $(VENV)/.test  ## time a meta-step against learn2learn, higher and TorchOpt
	$(BIN)/python -m mlcode.peers.bench

lint: $(VENV)/.test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

address: $(VENV)/.test  ## write the address in _config.yml into notebooks, README and CITATION
	$(BIN)/python tools/address.py

constraints: $(VENV)/.test  ## resolve constraints.txt anew, to the newest versions
	$(PIP) uv
	$(BIN)/python tools/constraints.py

clean:  ## remove what was built; .venv stays
	rm -rf _build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache

# The environment. A stamp is newer than what it was made from, or it is made again.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "The book needs Python 3.10 or newer; choose one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/python constraints.txt
	$(PIP) $(PINS:%=-c %) pip setuptools wheel hatchling
	@touch $@

$(VENV)/.book: $(VENV)/.base pyproject.toml
	$(PIP) $(PINS:%=-c %) -e '.[book]'
	@touch $@

$(VENV)/.test: $(VENV)/.book
	$(PIP) $(PINS:%=-c %) -e '.[book,test,peers,tune]'
	PIP_CONSTRAINT=$(PINS) $(BIN)/python -m mlcode.peers.install \
	  || { echo "learn2learn is compiled: on Debian and Ubuntu, apt-get install gcc python3-dev"; exit 1; }
	@touch $@
