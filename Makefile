# Nucleus: `make serve` and `make test` do everything from a bare clone with Python, a C/C++ compiler and make.

PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SOURCES := setup.py $(wildcard csrc/*.c csrc/*.h csrc/*.inc csrc/*.p* csrc/simd/*.h engine/*.pxd)
TESTING := $(VENV)/.installed-model,test,bench,eval
SANITIZED := build/sanitize
# They check every access to memory and undefined arithmetic.
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-wrapv \
	-fno-omit-frame-pointer -g -O1
# What tests put on the other side and wants other versions of what others use too, each in an environment of its own.
CLIENTS := build/clients/litellm build/clients/instructor build/clients/smg build/clients/ray
# Tests that meet every dependency, for `make floors` and `make ceilings`.
MEETING := $(addprefix tests/,sampler/test_kernels.py grammar/test_compiler.py models/test_hub.py test_cli.py test_doors.py \
	test_http.py test_metrics.py test_shutdown.py edge/test_listening.py edge/test_origins.py grpc)

# The page's tools come from npm; what they make is committed, so that only those who change it need Node.
PAGE_TOOLS := build/playground/.installed
PAGE_BUNDLE := src/main.ts --bundle --format=esm --target=es2022 --legal-comments=none

# `make serve MODEL=...` is another spelling of `NUCLEUS_MODEL=... make serve`.
ifeq ($(origin MODEL),command line)
export NUCLEUS_MODEL := $(MODEL)
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # the compilers under pip use every core already
.PHONY: serve test check page page-check docs sanitize fuzz proto proto-check bench bench-sampler bench-serving bench-scale publish soak flood chaos floors ceilings clean help

# $(call patiently,what,command): the command's output goes to the log; a line every 15 seconds says it is alive.
# The command stays in the foreground, so that Ctrl-C reaches the compilers under it.
define patiently
@echo "$(1)"; began=$$(date +%s); \
(while sleep 15 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do \
	echo "  still at it after $$(($$(date +%s) - began)) s; follow it in $(LOG)"; done) & beat=$$!; \
{ $(2); } >$(LOG) 2>&1; status=$$?; kill $$beat; wait $$beat 2>/dev/null; \
[ $$status -eq 0 ] || { tail -n 40 $(LOG); echo "Failed ($$status): $(1)"; echo "The whole output is in $(LOG)."; \
	exit $$status; } >&2
endef

# $(call tool,command): one check, named before it runs and again when it fails. On PATH, as one tool calls another.
define tool
@echo "--- $(1)"; PATH="$(CURDIR)/$(BIN):$$PATH" $(1) || { echo "*** failed: $(1)" >&2; exit 1; }
endef

# $(call sanitized,module and arguments): Python with the sanitized extension, which stands ahead of the usual one on
# the path, among links to the rest of the package. Leaks of CPython's own do not count; two frames tell whose memory
# it is, because the interpreter is at the bottom of every stack. llama.cpp throws, so C++ is there from the start.
define sanitized
@ln -sfn $(filter-out %.so %/__pycache__,$(wildcard $(CURDIR)/engine/*)) $(SANITIZED)/lib/engine
LD_PRELOAD="$$(ldd $(SANITIZED)/lib/engine/_sampler*.so | awk '/libasan/ { print $$3 }') \
	$$($(CXX) -print-file-name=libstdc++.so.6)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=malloc_context_size=2 LSAN_OPTIONS=suppressions=tests/sampler/leaks.supp:print_suppressions=0 \
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(SANITIZED)/lib:$(CURDIR) $(BIN)/python -m $(1)
endef

# $(call versions,resolution): the tests of $(MEETING) with the versions of dependencies that uv chooses within the limits of
# pyproject.toml, for runtime and build; the tests stand among links, where they import what is installed. Old versions use
# what new ones of others deprecate.
define versions
@mkdir -p build/versions/$(1)/tests
$(call patiently,Installing Nucleus with the $(1) versions,(set -e; \
	$(PIP) install --upgrade --target build/versions/uv uv==0.13.9; \
	$(PIP) wheel --no-deps --wheel-dir build/versions/wheels -r $(VENV)/requirements.txt; \
	rm -f build/versions/*.tar.gz; \
	$(BIN)/python -c "from setuptools import build_meta; build_meta.build_sdist('build/versions')"; \
	cd build/versions/$(1); uv="../uv/bin/uv --quiet"; \
	$$uv venv --clear --python $(CURDIR)/$(BIN)/python env; export VIRTUAL_ENV=$$PWD/env; \
	$$uv pip compile --resolution $(1) --upgrade --find-links ../wheels --extra model --no-header \
		-o versions.txt $(CURDIR)/pyproject.toml $(CURDIR)/$(VENV)/requirements.txt; \
	$$uv pip install --find-links ../wheels -r versions.txt; \
	$$uv pip install --no-build-isolation --no-deps --reinstall ../nucleus_engine-*.tar.gz; \
	$$uv pip install -c versions.txt -r $(CURDIR)/tests/packaging/requirements.txt; \
	$$uv pip check; ln -sfn $(CURDIR)/pyproject.toml $(CURDIR)/benchmarks .; ln -sfn $(CURDIR)/tests/* tests))
cd build/versions/$(1) && env/bin/python -P tests/packaging/draw.py && \
	env/bin/python -P -m pytest --numprocesses 2 --dist loadfile -W default::DeprecationWarning $(MEETING) $(ARGS)
endef

# $(call page_tool,command): one of the page's tools, in the folder of its sources.
define page_tool
@echo "--- $(1)"; cd engine/playground && PATH="$(CURDIR)/build/playground/node_modules/.bin:$$PATH" $(1) || \
	{ echo "*** failed: $(1)" >&2; exit 1; }
endef

# $(call generate,folder): Python from the proto file; only the imports change, the descriptor keeps its file name.
define generate
PATH="$(CURDIR)/$(BIN):$$PATH" python -m grpc_tools.protoc -I proto --python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) nucleus/v1/completions.proto && \
sed -i.orig 's/^from nucleus\./from engine.pb.nucleus./' $(1)/nucleus/v1/*_pb2*.py* && \
rm $(1)/nucleus/v1/*.orig && touch $(1)/nucleus/__init__.py $(1)/nucleus/v1/__init__.py
endef

serve: $(VENV)/.installed-model $(VENV)/.extension ## build what is missing, then serve (MODEL=..., ARGS="--http-port 8001")
	@exec $(BIN)/nucleus serve $(ARGS)

test: check docs $(CLIENTS:=/.installed) ## build what is missing, then run every check and every test (ARGS="-k stop")
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(TESTING) $(VENV)/.extension proto-check page-check ## linters, types, import rules, stubs, generated code
	$(call tool,ruff check)
	$(call tool,ruff format --check)
	$(call tool,mypy)
	$(call tool,lint-imports --no-logo)
	$(call tool,cython-lint csrc)
	$(call tool,python -m mypy.stubtest --mypy-config-file pyproject.toml engine._sampler)
	$(call tool,zizmor --offline --quiet --strict-collection .github)
	$(call tool,hadolint packaging/docker/*.Dockerfile)
	$(call tool,python -m benchmarks.publish --check)

docs: $(VENV)/.docs ## the documentation as a site in build/site, links checked
	$(call tool,python docs/pages.py build/pages)
	$(call tool,zensical build --clean --strict)

sanitize: $(TESTING) $(VENV)/.sanitized ## tests of the sampler and of HTTP on a build with ASan and UBSan (ARGS="-k seed")
	$(call sanitized,pytest --import-mode=append tests/sampler tests/test_http.py tests/test_doors.py $(ARGS))

fuzz: $(TESTING) $(VENV)/.sanitized ## random cases on the sanitized build (ARGS="--seconds 600 --seed 1 --save")
	$(call sanitized,tests.sampler.fuzz $(ARGS))

proto: $(TESTING) ## regenerate engine/pb from the proto file
	@$(call generate,engine/pb)

proto-check: $(TESTING) ## lint the proto file; fail if engine/pb is not what it generates
	$(call tool,buf lint proto)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && echo "--- engine/pb against proto" && \
	$(call generate,"$$fresh") && diff -rq -x __pycache__ engine/pb/nucleus "$$fresh/nucleus" || \
	{ echo "*** failed: engine/pb is not what proto generates; make proto regenerates it" >&2; exit 1; }

page: $(PAGE_TOOLS) ## make the page at / of its TypeScript (needs Node)
	$(call page_tool,tsc -p .)
	$(call page_tool,biome check src static/index.html static/page.css)
	$(call page_tool,esbuild $(PAGE_BUNDLE) --outfile=static/page.js)

page-check: $(if $(shell command -v npm),$(PAGE_TOOLS)) ## types and style of the page; fail if it is not what its sources make
ifneq ($(shell command -v npm),)
	$(call page_tool,tsc -p .)
	$(call page_tool,biome check src static/index.html static/page.css)
	$(call page_tool,esbuild $(PAGE_BUNDLE) --outfile=$(CURDIR)/build/playground/page.js)
	@cmp build/playground/page.js engine/playground/static/page.js || \
	{ echo "*** failed: the page is not what its sources make; make page makes it" >&2; exit 1; }
else
	@echo "--- the page is not checked: npm is not on the PATH"
endif

$(PAGE_TOOLS): engine/playground/package.json engine/playground/package-lock.json
	@mkdir -p $(@D) && cp $^ $(@D)
	@echo "Installing the page's tools"; cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

bench: $(VENV)/.installed-model,bench $(VENV)/.extension ## time the engine (ARGS="-k overhead")
	$(BIN)/python -m pytest benchmarks/engine --benchmark-enable --benchmark-only $(ARGS)

bench-sampler: $(VENV)/.installed-model,bench $(VENV)/.extension ## time the sampler: table, plot, JSON (ARGS="-k greedy")
	$(BIN)/python -m pytest benchmarks/sampler --benchmark-enable --benchmark-only --benchmark-quiet $(ARGS)

bench-serving: $(VENV)/.installed-model,bench $(VENV)/.extension ## our server beside others: table, plot, JSON (ARGS="--quick")
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-scale: $(VENV)/.installed-model,bench $(VENV)/.extension build/clients/smg/.installed build/clients/ray/.installed ## servers behind a gateway, and without it (ARGS="--quick")
	$(BIN)/python -m benchmarks.scale $(ARGS)

publish: $(VENV)/.installed-model,bench ## write docs/performance-results.md and the plot of steps from benchmarks/results
	$(BIN)/python -m benchmarks.publish

soak: $(VENV)/.installed-model,bench $(VENV)/.extension ## clients at random for half an hour; nothing may grow or be lost (ARGS="--minutes 2")
	$(BIN)/python -m benchmarks.soak $(ARGS)

flood: $(VENV)/.installed-model,bench $(VENV)/.extension ## 3,000 requests at once, and 1,000 idle connections (ARGS="--requests 500")
	$(BIN)/python -m tests.chaos.flood $(ARGS)

chaos: $(VENV)/.installed-model,bench $(VENV)/.extension ## clients on a network that stalls and cuts; none may be lost (ARGS="--minutes 2")
	$(BIN)/python -m tests.chaos $(ARGS)

floors: $(VENV)/.llama ## some tests with the lowest versions of dependencies that are allowed (ARGS="-k stop")
	$(call versions,lowest-direct)

ceilings: $(VENV)/.llama ## the same with the newest
	$(call versions,highest)

clean: ## remove the virtual environment and everything built (pip keeps its cache)
	rm -rf $(VENV) build dist *.egg-info engine/*.so
	rm -rf .cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Each stamp stands for a finished step: a second `make serve` compares a few times and starts.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Making the virtual environment $(VENV)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@touch $@

# What setup.py needs, and llama.cpp before the rest: its own step, because it is the long one.
$(VENV)/.llama: pyproject.toml | $(VENV)/.created
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	llm = p["project"]["optional-dependencies"]["llm"]; \
	print(*p["build-system"]["requires"], *(d for d in llm if "llama" in d), sep="\n")' >$(VENV)/requirements.txt
	$(call patiently,Installing llama.cpp (from source: about seven minutes the first time on two cores; pip keeps \
	the wheel),$(PIP) install -r $(VENV)/requirements.txt)
	@touch $@

# With the build requirements at hand there is no need of isolation, nor of a network when all is installed already.
$(VENV)/.installed-%: pyproject.toml setup.py $(VENV)/.llama
	$(call patiently,Installing Nucleus [$*],$(PIP) install --no-build-isolation -e ".[$*]")
	@touch $(VENV)/.extension $@

# Without Nucleus itself: the generator reads its sources, so nothing is compiled.
$(VENV)/.docs: pyproject.toml | $(VENV)/.created
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	print(*p["project"]["optional-dependencies"]["docs"], sep="\n")' >$(VENV)/docs.txt
	$(call patiently,Installing what makes the documentation,$(PIP) install --only-binary :all: -r $(VENV)/docs.txt)
	@touch $@

$(VENV)/.extension: $(SOURCES) | $(VENV)/.llama
	$(call patiently,Compiling the sampler,$(BIN)/python setup.py build_ext --inplace)
	@touch $@

# Exactly what the list says, so an older environment goes; its modules are compiled when they are first imported.
build/clients/%/.installed: tests/clients/%/requirements.txt | $(VENV)/.created
	$(call patiently,Installing $*,$(BIN)/python -m venv --clear --without-pip $(@D) && \
	$(PIP) --python $(@D)/bin/python install --no-compile --only-binary :all: -r $<)
	@touch $@

# Ray with what $(VENV) lacks. The rest is found behind it: llama.cpp would be compiled once more.
build/clients/ray/.installed: tests/clients/ray/requirements.txt | $(TESTING)
	$(call patiently,Installing Ray,$(BIN)/python -m venv --clear --without-pip $(@D) && \
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >$$(echo $(@D)/lib/python3*/site-packages)/behind.pth && \
	$(PIP) --python $(@D)/bin/python install --no-deps --no-compile --only-binary :all: -r $<)
	@touch $@

# Built apart from the rest, so that no other target ever meets it.
$(VENV)/.sanitized: $(SOURCES) | $(VENV)/.llama
	@rm -rf $(SANITIZED)
	$(call patiently,Compiling the sampler with ASan and UBSan,NUCLEUS_BUILD_FLAGS="$(SANITIZERS)" $(BIN)/python setup.py \
	build_ext --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/temp)
	@touch $@
