# SPDX-License-Identifier: Apache-2.0
# `make up` and `make test` are all that is needed on a fresh Debian 12 or 13 machine; the others are for work on Jinku.
# ENV=name or ENV=/path chooses another environment than the lab.

ENV ?= lab
# Which sabotages: `make sabotage "SABOTAGES=sabotage and not nightly"` leaves out those of more than half a minute, as CI does.
SABOTAGES ?= sabotage
BIN := .venv/bin
JINKU := $(BIN)/jinku --env $(ENV)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help up plan status check destroy test test-pure test-compliance test-browser test-cold-start test-long-drills test-power test-unseal test-upgrade test-alarms test-disks sabotage benchmark lint docs format lock bootstrap bootstrap-tests

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bootstrap: ## Install the packages that Jinku needs
	@tools/bootstrap.sh

bootstrap-tests:
	@tools/bootstrap.sh tests

up: bootstrap ## Install what is missing, build the environment, check it, print its URL, login and report
	@$(JINKU) up

plan: bootstrap ## Show what `make up` would change
	@$(JINKU) plan

status: bootstrap ## Show what runs
	@$(JINKU) status

check: bootstrap ## Check the running environment and write the report
	@$(JINKU) check

destroy: bootstrap ## Remove the environment (asks first)
	@$(JINKU) destroy

test: test-pure test-compliance ## Run every test: pure logic first, then the running environment

test-pure: bootstrap-tests ## Run the tests that need no hosts
	@$(BIN)/pytest tests -n 2 --dist loadscope

test-compliance: bootstrap-tests ## Run the control tests against the running environment
	@JINKU_ENV=$(ENV) $(BIN)/pytest compliance_tests

sabotage: bootstrap-tests ## Break the lab's hosts, one thing at a time, and see each control test fail (lab only)
	@JINKU_ENV=$(ENV) $(BIN)/pytest compliance_tests/sabotage -m "$(SABOTAGES)"

test-browser: bootstrap-tests ## Work in the CRM with a browser, through the edge
	@JINKU_ENV=$(ENV) $(BIN)/pytest compliance_tests/browser -m browser

test-cold-start: bootstrap-tests ## Switch every host off and on again: the CRM must answer (lab only)
	@JINKU_ENV=$(ENV) $(BIN)/pytest tests/drills -m drill

test-alarms: bootstrap-tests ## Break what is quick, and see mail and webhook come; all: pytest tests/drills -m alarms_all (lab only)
	@JINKU_ENV=$(ENV) $(BIN)/pytest tests/drills -m alarms -s

benchmark: bootstrap-tests ## Measure speed on the running environment, as ratios to a floor of the same run (some minutes; never in CI)
	@failed=; for each in render hosts_up noop_converge check up_again; do \
		JINKU_ENV=$(ENV) $(BIN)/python benchmarks/$$each.py || failed="$$failed $$each"; done; \
		test -z "$$failed" || { echo "too slow, or not measured:$$failed" >&2; exit 1; }

test-long-drills: bootstrap-tests ## Edit, kill, cut off and add hosts of the running lab, and see `up` end it (lab only, half an hour)
	@JINKU_ENV=$(ENV) $(BIN)/pytest tests/drills tests/test_full_disk.py -m long_drill

test-unseal: bootstrap-tests ## Bring up a lab of its own whose vault three operators open, and start it cold
	@$(BIN)/pytest tests/drills -m unseal

test-upgrade: bootstrap-tests ## Bring up an earlier Jinku in a lab of its own, then this one over it
	@$(BIN)/pytest tests/drills -m upgrade

test-power: bootstrap-tests ## Let the battery of the lab's UPS run low: a site stops in order, and starts again (lab only, ten minutes)
	@JINKU_ENV=$(ENV) $(BIN)/pytest tests/drills -m power -s

test-disks: bootstrap-tests ## Encrypt the disks of a machine with a kernel of its own (QEMU), cut its power, take the vault away (root, minutes)
	@$(BIN)/pytest tests/vault/test_disks.py -m vm

lint: bootstrap-tests ## Run the static checks
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/yamllint --strict .
	@$(BIN)/ansible-lint --offline
	@shellcheck .ci/run tools/*.sh hardening/*/files/usr/local/libexec/* roles/*/files/etc/jinku/tls-reload.d/* \
		roles/log/files/usr/local/sbin/jinku-log-retention roles/log/files/usr/local/sbin/jinku-recordings \
		roles/room/files/usr/local/libexec/jinku-ups roles/enrol/files/usr/local/libexec/jinku-await
	@shellcheck --shell=bash roles/*/files/converge.sh
	@shellcheck --shell=sh --exclude=SC1091,SC2086,SC3028 stacks/provider/lab/scripts/*.sh

docs: bootstrap-tests ## Build the docs site, Chinese and English
	@tools/docs.sh

format: bootstrap-tests ## Format the Python code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Compute tools/requirements*.txt anew from pyproject.toml (needs uv)
	@tools/lock.sh
