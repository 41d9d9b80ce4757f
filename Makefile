# The commands of this repository; `make` alone lists them.
# They need python3 (3.11 or later) with venv, make and git; the tests, a Chromium or Chrome too.

python := .venv/bin/python
installed := .venv/.installed
project := {{cookiecutter.project_slug}}
# The tools of .venv come first, so that the hooks find its uv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

demo := demo/my-realtime-backend
port := 8000

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-template test-servers test-faults test-random test-changes test-machines test-newest test-docker lint format lock bench bench-render pictures clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: $(installed) ## Install what the other targets need into .venv; they do it by themselves

demo: $(installed) ## Render the defaults into demo/, verify, and serve on http://127.0.0.1:8000; port=8001
	@rm -rf demo && mkdir demo
	@cookiecutter . --no-input --output-dir demo
	@$(MAKE) --silent -C $(demo) migrate >/dev/null
	@cd $(demo) && DJANGO_SUPERUSER_PASSWORD=demo .venv/bin/python manage.py \
		createsuperuser --no-input --username demo --email demo@example.com
	@echo; echo 'User: demo, password: demo. From a second terminal, open a socket:'; echo
	@echo '  $(demo)/.venv/bin/websockets \'
	@echo '    "ws://127.0.0.1:$(port)/ws/realtime/?token=$$(make -s -C $(demo) token user=demo)"'
	@echo; echo 'and push a message into it from a third one:'; echo
	@echo "  make -C $(demo) notify user=demo data='{\"message\": \"Hello\"}'"; echo
	@exec $(MAKE) --no-print-directory -C $(demo) run port=$(port)

test: lint test-template test-faults ## Run lint, test-template and test-faults

test-fast: $(installed) lint ## Check the documents, and render, verify and look at the defaults: for daily work
	@pytest tests/test_documents.py tests/test_combinations.py tests/test_verification.py \
		--numprocesses auto --dist loadgroup -k "documents or sqlite-use_chat-use_nginx-3.13" $(args)

test-template: $(installed) ## Render every combination of answers and use the results; args="-k name" narrows
	@pytest tests/test_*.py --numprocesses auto --dist loadgroup $(args)

test-servers: $(installed) ## Send real servers, also behind nginx and from a browser, what clients might
	@pytest tests/connections tests/stack tests/browser --numprocesses auto --dist loadgroup $(args)

test-faults: $(installed) ## Kill Redis, PostgreSQL and servers under load: no event may be lost or doubled
	@pytest tests/faults --numprocesses 3 --maxschedchunk 1 $(args)

test-random: $(installed) ## Let faults happen at random for seconds=600, from seed=1 on; each seed can be repeated
	@pytest tests/faults/test_random.py -k long --capture no --seconds $(or $(seconds),600) $(if $(seed),--seed $(seed)) $(args)

test-changes: $(installed) ## Break projects, and update them: what their users do, or their tests should notice
	@pytest tests/changes --numprocesses auto --dist loadgroup $(args)

test-machines: $(installed) ## Do the first minute on fresh machines: containers, or the Pythons of this one
	@pytest tests/machines --numprocesses auto $(args)

test-newest: $(installed) ## Run the rendered suite on the newest Django, with warnings as errors
	@rm -rf .cache/newest
	@cookiecutter . --no-input --output-dir .cache/newest verify_project=false
	@cd .cache/newest/* && $(MAKE) --silent install && \
		uv pip install --quiet --python .venv --upgrade --prerelease allow Django && \
		.venv/bin/python -m django version && .venv/bin/python -W error -m pytest --quiet --numprocesses auto $(args)

test-docker: $(installed) ## Deploy every combination in containers; needs Docker with Compose
	@docker compose version >/dev/null && docker info >/dev/null
	@pytest tests/docker --ignore tests/docker/test_swarm.py --numprocesses 3 -rP $(args)
	@pytest tests/docker/test_swarm.py $(args)

lint: $(installed) ## Check style, formatting and workflows of the template itself
	@ruff check
	@ruff format --check
	@actionlint
	@zizmor --offline --quiet .github

format: $(installed) ## Fix what ruff can fix, and format
	@ruff check --fix
	@ruff format

lock: $(installed) ## Lock the newest versions, for the template and for every variant of the project
	@$(python) scripts/lock.py

bench: $(installed) ## Measure the rendered backend beside its peers; needs a C compiler and Node
	@$(python) benchmarks/run.py $(args)

bench-render: $(installed) ## Time a verified rendering beside cookiecutter-django; peer=path of a copy
	@$(python) benchmarks/rendering.py $(if $(peer),--peer '$(peer)')

pictures: $(installed) ## Take the README's pictures anew; needs a Chromium and the font Inter
	@uv run --no-project --with pillow==13.0.0 python docs/pictures.py

clean: ## Delete everything that git ignores
	@git clean -dfX

# Any Python from 3.9 on can run what installs, and finds the one to use.
some_python = $$(for name in $(python) python3 python python3.14 python3.13 python3.12 python3.11 py; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1 && echo $$name && exit; \
	done; \
	command -v uv >/dev/null && echo uv run --no-project --python 3.13 python && exit; \
	echo 'No Python from 3.9 on is on PATH: install Python 3.13, or uv' >&2; echo false)

$(installed): requirements.txt
	@$(some_python) '$(project)/backend/installation.py' --lock requirements.txt --venv .venv
