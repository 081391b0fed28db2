# make figures [NAME=value ...]     run the notebooks and draw every figure; settings: $(SETTINGS)
# make test                         run the tests
# make lab                          open the notebooks in JupyterLab
# make lint | bench | ship | clean  style | speed beside other tools | copy results to data/results | remove what is rebuilt
# Everything runs in .venv, made on first use; PYTHON=path picks the interpreter that makes it.

.DEFAULT_GOAL := figures
.PHONY: figures test lab help lint bench ship clean
.SILENT:

SETTINGS := ONLY PRESET MODEL TEMPLATE DATA SEEDS TOKENS RATE HELDOUT PUBLIC FRESH
BIN := .venv/bin
INSTALLED := .venv/.installed
# Only what stands on the command line counts: a DATA in the environment is somebody else's. Spaces come as "\ ".
space := $() $()
said := $(foreach word,$(subst \$(space),,$(MAKEOVERRIDES)),$(firstword $(subst =, ,$(subst :=,=,$(word)))))
goals := $(or $(MAKECMDGOALS),figures)
known := $(if $(filter figures,$(goals)),$(SETTINGS)) PYTHON
strange := $(filter-out $(known),$(said))
ifneq ($(strange),)
$(error $(firstword $(strange)) is no setting of make $(goals); known: $(strip $(known)))
endif
given = $(if $(findstring command,$(origin $(1))),$(value $(1)))
CHOICES := $(or $(call given,PYTHON),python3.11 python3.12 python3.13 python3)
# One setting without which OpenMP threads waste a busy machine's cores waiting for each other.
export GOMP_SPINCOUNT := 2000

figures: $(INSTALLED)
	echo "make: running the notebooks"
	$(foreach name,$(SETTINGS),$(if $(call given,$(name)),FLAN_$(name)='$(subst ','\'',$(call given,$(name)))')) \
		$(BIN)/python -m flanlib.batch

test: $(INSTALLED)
	echo "make: running the tests"
	$(BIN)/python -m pytest

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

help:
	sed -n 's/^# \(make .*\)/\1/p' Makefile | sed 's/[$$](SETTINGS)/$(SETTINGS)/'

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e ".[bench]"
	echo "make: measuring speed beside other tools"
	$(BIN)/python -m flanlib.bench

ship: $(INSTALLED)
	$(BIN)/python -m flanlib.ship

# data/runs stays: it holds hours of training, and is found again by content. So does data/models.
clean:
	rm -rf .venv .hypothesis .ruff_cache build *.egg-info figures/smoke
	find flanlib tests notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

$(INSTALLED): pyproject.toml
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		for choice in $(CHOICES); do \
			if "$$choice" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found="$$choice"; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "make: no Python 3.11 or newer among: $(CHOICES). Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; \
		fi; \
		echo "make: creating .venv with $$found"; \
		"$$found" -m venv --clear .venv; \
	fi
	echo "make: installing what pyproject.toml lists (several minutes the first time)"
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e ".[dev]"
	$(BIN)/python -m flanlib.pretrained || echo "make: going on without the model; what needs it will say so"
	touch $@
