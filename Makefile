# Needs python3 (3.11 or newer), python3-venv and make; everything else comes from requirements/ into .venv.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
LOCK := requirements/dev.txt
PROTOS := $(sort $(wildcard proto/keepline/v1/*.proto))

# Stamps are named by content and place, so a moved clone or another branch rebuilds, and a mere `touch` does not.
locked := $(VENV)/.locked-$(shell { cat $(LOCK); pwd; } | sha256sum | cut -c1-16)
installed := $(VENV)/.installed-$(shell cat $(LOCK) pyproject.toml | sha256sum | cut -c1-16)

# protoc finds its typed-stub plugins, and tests find `keepline`, without an activated environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: setup demo test check bench soak needs proto stubs lock clone-check
.DELETE_ON_ERROR:

setup: $(installed)

$(locked): ; @\
	echo "setting up $(VENV) (about half a minute)"; \
	$(PYTHON) -m venv --clear $(VENV) && \
	$(PY) -m pip install --quiet --no-compile --require-hashes --only-binary :all: -r $(LOCK) && \
	touch $@

$(installed): $(locked)
	@rm -f $(VENV)/.installed-*
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@keepline demo

# Everything that .ci/run runs.
test: needs check
	$(PY) tests/all.py

# Every fault many times over; about an hour.
soak: needs setup
	$(PY) -m pytest -m soak

# What the tests run besides Python packages. Without root, its tests say how to install it.
# Nothing needs the services that Debian starts with them: the tests start servers of their own.
needs: ; @\
	want=; \
	command -v sipp >/dev/null || want="$$want sip-tester"; \
	command -v etcd >/dev/null || want="$$want etcd-server"; \
	command -v java >/dev/null || want="$$want default-jre-headless"; \
	command -v prometheus-alertmanager >/dev/null || want="$$want prometheus-alertmanager"; \
	command -v prometheus >/dev/null || want="$$want prometheus"; \
	test -e /usr/share/java/zookeeper.jar || want="$$want libzookeeper-java"; \
	test -x /usr/sbin/snmpd || want="$$want snmpd"; \
	test -x /usr/sbin/snmptrapd || want="$$want snmptrapd"; \
	command -v snmpinform >/dev/null || want="$$want snmp"; \
	command -v ip >/dev/null || want="$$want iproute2"; \
	test -n "$$want" || exit 0; \
	install="apt-get install --yes --no-install-recommends$$want"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$install >/dev/null || exit 1; \
		for service in etcd prometheus prometheus-alertmanager snmpd snmptrapd; do case "$$want " in *" $$service "*|*" $$service-server "*) \
			! [ -d /run/systemd/system ] || systemctl --quiet disable --now $$service;; esac; done; \
	else echo "missing for the tests; install it with: sudo $$install" >&2; fi

check: stubs
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo

# The figures of the design, measured here, as JSON.
bench: setup
	@$(PY) -m tests.bench

# $(call protoc,DIR): the stubs of every contract, into DIR.
protoc = $(PY) -m grpc_tools.protoc -Iproto --python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet,only_async:$(1) $(PROTOS)

proto: setup
	@rm -f proto/keepline/v1/*_pb2.py proto/keepline/v1/*_pb2.pyi proto/keepline/v1/*_pb2_grpc.py*
	$(call protoc,proto)

# Are the committed stubs those of the committed contracts, none missing, none left over?
stubs: setup
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(call protoc,"$$fresh"); \
	diff -rq -x '*.proto' -x __init__.py -x __pycache__ "$$fresh/keepline/v1" proto/keepline/v1 \
		|| { echo "the stubs in proto/ are stale: run 'make proto' and commit" >&2; exit 1; }

# The only target that looks for newer versions. dev.txt first: grpcio-tools narrows the runtime's protobuf.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet uv==0.13.9
	build/lock/bin/uv pip compile $(uv_flags) --group dev -o requirements/dev.txt
	build/lock/bin/uv pip compile $(uv_flags) --constraint requirements/dev.txt -o requirements/runtime.txt

uv_flags := pyproject.toml --quiet --upgrade --no-config --generate-hashes --python-version 3.11 --python-platform linux \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# What is committed, and nothing else, passes on its own.
clone-check:
	@set -e; d=$$(mktemp -d); trap 'rm -rf "$$d"' EXIT; \
	git clone -q "$(CURDIR)" "$$d/keepline"; \
	env -i HOME="$$HOME" LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin $(MAKE) -C "$$d/keepline" test; \
	test -z "$$(git -C "$$d/keepline" status --porcelain)"
