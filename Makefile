# Needs Python 3.11 to 3.13, git and make. Everything is installed in .venv and nowhere else.
# On Windows: make lab PYTHON=python

PYTHON ?= python3
LAB_ARGS ?=
LAB_DIR ?=
STUDENT_ARGS ?=

VENV := .venv
PY := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
PIP := $(PY) -m pip --disable-pip-version-check
NBGRADER := $(VENV)/nbgrader
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings

# The lessons after a run, with players that need no Python: slides and pages are made from them.
STATIC := $(patsubst notebooks/%,build/lessons/%,$(wildcard notebooks/*.ipynb))
LANGUAGES := $(notdir $(wildcard docs/locale/*))
SOURCES := $(shell find minimistral -name '*.py' -o -name '*.js' -o -name '*.css' -o -name '*.safetensors')

# What a user has set for other Pythons does not count; for the lessons see minimistral/course/lab.py.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help lab test test-all bugs notebooks student slides slides-check site site-check translations figures constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

lab: $(VENV)/.lab ## install the course and open your copies of the lessons in JupyterLab (LAB_DIR=notebooks: the lessons; LAB_ARGS=--no-browser only prints the address)
	$(PY) -m minimistral.course.lab $(if $(LAB_DIR),--lessons="$(LAB_DIR)") $(LAB_ARGS)

# Two processes keep two cores busy; with more threads in each, the kernels wait for each other.
test: export OMP_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
test: $(VENV)/.tests $(if $(shell command -v npm),docs/node_modules/.package-lock.json) ## run all checks, and compare every notebook with its saved outputs
	$(PY) -m ruff check .
	$(PY) -m mypy minimistral
	$(PY) -m pytest -n 2 --dist worksteal -m "not browser and not rare"
	$(PY) -m pytest -n 2 --dist loadfile -m "browser and not rare" tests/publish
	$(PY) -m pytest -n 2 --dist loadfile --nbval notebooks/

test-all: test slides-check site-check ## also what takes longest: every lecture and page, rare tests, every planted bug
	$(PY) -m pytest -n 2 --dist worksteal -m rare
	$(PY) -m pytest -n 2 --dist worksteal -m "not browser and not rare" --hypothesis-profile=thorough
	MINIMISTRAL_BUGS=all $(MAKE) bugs

bugs: export OMP_NUM_THREADS := 1
bugs: $(VENV)/.tests ## plant the bugs that tests/caught.txt does not hold, and write it again
	MINIMISTRAL_BUGS=$(or $(MINIMISTRAL_BUGS),new) $(PY) -m pytest -n 2 --dist worksteal tests/test_mutations.py
	$(PY) tests/caught.py

notebooks: $(VENV)/.tests ## run the notebooks again and save their outputs
	$(PY) -m minimistral.publish.notebooks notebooks/*.ipynb

student: $(VENV)/.lab ## build the lessons without solutions, the solutions apart, and sources for nbgrader (STUDENT_ARGS=--overwrite: also over files that you have changed)
	$(PY) -m minimistral.publish.student $(STUDENT_ARGS)

slides: $(STATIC) docs/node_modules/.package-lock.json ## build one lecture per lesson, in build/slides
	$(PY) -m minimistral.publish.slides

slides-check: slides $(VENV)/.tests ## build the lectures and check every slide in Chromium
	MINIMISTRAL_SLIDES=build/slides $(PY) -m pytest -m browser tests/publish/test_slides.py

site: $(STATIC) docs/node_modules/.package-lock.json ## build the web page of the course, in build/site
	$(PY) -m minimistral.publish.site $(LANGUAGES:%=--language %)

site-check: site ## build the web page and check every page in Chromium
	MINIMISTRAL_SITE=build/site $(PY) -m pytest tests/publish/test_site.py

translations: $(VENV)/.tests ## put what changed in the lessons into their translations, and build these in build/
	for language in $(LANGUAGES); do $(PY) -m minimistral.publish.translate --update $$language || exit; done
	$(PY) -m minimistral.publish.translate --check
	for language in $(LANGUAGES); do $(PY) -m minimistral.publish.translate --build $$language || exit; done

figures: $(VENV)/.tests ## draw the pictures in figures/ again
	$(PY) -m minimistral.publish.figures

constraints: $(VENV)/.created ## pin what is installed now in constraints.txt
	$(PIP) install -e '.[tests,docs]'
	$(PIP) list --format=freeze --exclude minimistral --exclude pip > $(VENV)/installed.txt
	$(PIP) install --no-deps --upgrade --target $(NBGRADER) nbgrader alembic Mako RapidFuzz
	$(PIP) list --format=freeze --path $(NBGRADER) >> $(VENV)/installed.txt
	@# torch pins the CUDA packages it installs
	sed -e 's/+.*//' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton/d' $(VENV)/installed.txt \
	  | LC_ALL=C sort -f > $(VENV)/pins.txt
	{ echo '# The versions that were tested. Written by `make constraints`.'; cat $(VENV)/pins.txt; } > constraints.txt

clean: ## remove .venv, caches and build files
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# Three stamps in .venv: created · course installed · development tools installed.

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v < (3, 14) or sys.exit("Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is %d.%d. Name another: make lab PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.lab: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	@mkdir -p $(LAB_SETTINGS)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(LAB_SETTINGS)/overrides.json
	@touch $@

$(VENV)/.tests: $(VENV)/.lab
	$(PIP) install -c constraints.txt -e '.[tests,docs]'
	@# apart: where transformers finds torchao it imports it, and lesson 08 would print what it says
	$(PIP) install --no-deps --upgrade --target $(VENV)/apart torchao==0.18.0
	@# apart as well, with what it needs and the course has not: it would add menus to JupyterLab
	$(PIP) install -c constraints.txt --no-deps --upgrade --target $(NBGRADER) nbgrader alembic Mako RapidFuzz
	@touch $@

build/lessons/%.ipynb: notebooks/%.ipynb $(SOURCES) | $(VENV)/.tests
	$(PY) -m minimistral.publish.notebooks --static build/lessons $<

docs/node_modules/.package-lock.json: docs/package-lock.json
	npm ci --prefix docs --no-audit --no-fund
	@touch $@
