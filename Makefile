# make itm     set up, then train on the built-in sample and write a report (IMAGES=... for real photos)
# make test    set up, then run the tests
# make quick   only the tests that train nothing
# make lint    check style and types
# make docs    build the documentation site

VENV ?= .venv
# The first Python found that TensorFlow supports; name another with make PYTHON=...
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
RUN := $(VENV)/bin/python
.PHONY: itm test quick lint types docs wheel real-data parity browser clean

itm: $(VENV)/.installed
	$(RUN) ITM_Classifier.py $(if $(IMAGES),--images "$(IMAGES)")

test: $(VENV)/.installed
	$(RUN) -m pytest

# Tests that build or train no model.
quick: $(VENV)/.installed
	$(RUN) -m pytest tests/metrics tests/reports tests/test_docs.py tests/test_files.py tests/test_layers_of_the_house.py tests/test_terminal.py

docs: $(VENV)/.installed
	$(RUN) -m pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet

lint: $(VENV)/.installed types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# A type checker looks for imagetext.itm and the like inside imagetext/, where a checkout does not
# have them: without these links it would silently check nothing of them.
types: $(VENV)/.installed
	mkdir -p .types/imagetext
	for each in imagetext/*.py imagetext/*/ pipelines itm captioning retrieval configs; do \
		ln -sfn "../../$${each%/}" ".types/imagetext/$$(basename $$each)"; done
	cd .types && ../$(RUN) -m mypy --config-file ../pyproject.toml

# Slow checks on Flickr8k (IMAGETEXT_DATA) and with pretrained encoders; scikit-image brings photos.
real-data: $(VENV)/.installed
	$(RUN) -m pip install -q --no-deps scikit-image
	$(RUN) -m pytest -m "real_data or weights or slow"

# The wheel, used in an empty folder.
wheel: $(VENV)/.installed
	$(RUN) -m pytest -n0 -m wheel tests/test_wheel.py

# The web page in a real browser: Debian's chromium, or another at CHROMIUM=...
browser: $(VENV)/.installed
	$(RUN) -m pip install -q -c constraints.txt -e '.[test,browser]'
	SCREENSHOTS=screenshots $(RUN) -m pytest -n0 -m browser tests/serving/browser

# Our optimizer against the TensorFlow Model Garden's, which needs an older TensorFlow: its own environment.
parity:
	$(if $(PYTHON),,$(error needs Python 3.11 or 3.12))
	$(PYTHON) -m venv .venv-official
	.venv-official/bin/python -m pip install -q -r requirements/official.txt
	.venv-official/bin/python -m pytest -m parity tests/training/test_official_parity.py

$(VENV)/.installed: setup.cfg constraints.txt
	$(if $(PYTHON),,$(error needs Python 3.11 or 3.12: https://www.python.org/downloads))
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
