#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the docs site in both languages into build/docs; a page that is in no table of contents, and a link or anchor that
# leads nowhere, ends it with an error.
set -eu
cd "$(dirname "$0")/.."
out=build/docs
for language in en zh; do
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --builder html --doctree-dir "build/doctrees/$language" \
		--tag "$language" docs "$out/$language"
done
cat >"$out/index.html" <<'HTML'
<!doctype html><meta charset="utf-8"><title>Jinku 金库</title>
<p><a href="zh/index.zh.html">中文</a> · <a href="en/index.en.html">English</a></p>
HTML
echo "the site is in $out/index.html"
