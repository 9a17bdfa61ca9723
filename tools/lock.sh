#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Pins every Python package, for Python 3.11 to 3.13 at once, by version and hash. Needs uv (`pip install uv`).
set -eu
cd "$(dirname "$0")/.."
build=$(mktemp --suffix .in)
trap 'rm -f "$build"' EXIT
echo 'setuptools>=77,<81' >"$build" # builds the editable install without the network
pin() {
	target=$1
	shift
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --native-tls \
		-o "$target" pyproject.toml "$build" "$@"
	# shellcheck disable=SC2016 # the backquotes are text
	sed -i '1i # SPDX-License-Identifier: Apache-2.0\n# Made by `make lock` from pyproject.toml; every file is pinned by its hash.' "$target"
}
pin tools/requirements.txt
pin tools/requirements-dev.txt --extra dev --constraint tools/requirements.txt
