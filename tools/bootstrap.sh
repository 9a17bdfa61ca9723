#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Brings a Debian 12 or 13 machine to where `jinku` runs: says what it will install, installs only what is missing, and
# starts or enables no service. Run again, it finds everything there and ends at once.
#
#   tools/bootstrap.sh         what `make up` needs
#   tools/bootstrap.sh tests   also what `make test` needs
set -eu

checkout=$(cd "$(dirname "$0")/.." && pwd)
cache=${JINKU_CACHE_DIR:-$HOME/.cache/jinku}
tests=${1:-}
case $tests in '' | tests) ;; *) echo "usage: tools/bootstrap.sh [tests]" >&2; exit 2 ;; esac

# --- packages ---------------------------------------------------------------------------------------------------
packages="python3 python3-venv ca-certificates git openssh-client gnupg util-linux xz-utils
systemd-container nftables iproute2 kmod procps e2fsprogs mmdebstrap debian-archive-keyring"
[ -z "$tests" ] || packages="$packages chromium fonts-noto-cjk shellcheck cryptsetup-bin"

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 2>/dev/null | awk '$2 == "installed" {print $1}')
missing=
for package in $packages; do
	echo "$installed" | grep -qx "$package" || missing="$missing $package"
done

links() { find /etc/systemd/system -type l 2>/dev/null | sort; }

if [ -n "$missing" ]; then
	echo "jinku installs these Debian packages:$missing"
	if [ "$(id -u)" != 0 ]; then
		echo "tools/bootstrap.sh: not running as root; run it as root, or: apt-get install$missing" >&2
		exit 5
	fi
	policy=/usr/sbin/policy-rc.d
	before=$(mktemp)
	links >"$before"
	if [ ! -e $policy ]; then # Debian's own switch for "start nothing"; an existing one is the owner's decision
		trap 'rm -f "$policy" "$before"' EXIT
		trap 'exit 130' INT TERM
		printf '#!/bin/sh\n# jinku\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	export DEBIAN_FRONTEND=noninteractive
	# A stale or foreign source must not stop us when the packages can be had from the others.
	apt-get -q update || echo "apt-get update reported problems; going on" >&2
	# shellcheck disable=SC2086 # words are package names
	apt-get -q -y --no-install-recommends install $missing || {
		echo "tools/bootstrap.sh: apt could not install:$missing; check /etc/apt/sources.list.d/debian.sources" >&2
		exit 5
	}
	links | comm -13 "$before" - | while read -r link; do # what a package enabled for the next boot
		case $link in *.wants/* | *.requires/*) rm -f "$link" && echo "left disabled: ${link##*/}" ;; esac
	done
	if grep -qsx "# jinku" $policy; then rm -f $policy; fi # ours, perhaps of an interrupted run
	rm -f "$before"
	trap - EXIT INT TERM
fi

# --- Python -----------------------------------------------------------------------------------------------------
python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3)
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
	echo "tools/bootstrap.sh: $python is $("$python" -V 2>&1); Python 3.11, 3.12 or 3.13 is needed" >&2
	exit 5
}
key=$({ echo "$checkout"; "$python" -V; cat "$checkout/pyproject.toml" "$checkout/tools/requirements.txt"; } | sha256sum | cut -c 1-16)
venv=$cache/venv/$key
mkdir -p "$cache/venv"
exec 9>"$venv.lock" # two at once would write over each other's packages; the lock ends with this program
flock --nonblock 9 || { echo "another run installs into $venv; waiting for it" >&2; flock 9; }
if [ ! -e "$venv/.complete" ]; then
	echo "jinku installs its Python packages into $venv (pinned by hash in tools/requirements.txt)"
	rm -rf "$venv"
	"$python" -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$checkout/tools/requirements.txt"
	"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation -e "$checkout"
	touch "$venv/.complete"
fi
if [ -n "$tests" ]; then
	wanted=$(sha256sum <"$checkout/tools/requirements-dev.txt")
	if [ "$(cat "$venv/.tests" 2>/dev/null)" != "$wanted" ]; then
		echo "jinku installs the Python packages of its tests into $venv"
		"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$checkout/tools/requirements-dev.txt"
		echo "$wanted" >"$venv/.tests"
	fi
fi
[ "$(readlink "$checkout/.venv" 2>/dev/null)" = "$venv" ] || ln -sfn "$venv" "$checkout/.venv"
