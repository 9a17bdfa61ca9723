# SPDX-License-Identifier: Apache-2.0
# What a host is like, a line a fact: NAME<tab>VALUE. Changes nothing. Run by `sh -s -- ADDRESS MIRROR TIME VOLUMES`:
# the host's address, the package mirror (http://ADDRESS:PORT), the time servers, and lines of "NAME MOUNT DEVICE".
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH
address=$1 mirror=$2 clocks=$3 volumes=$4
say() { printf '%s\t%s\n' "$1" "$2"; }
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

say clock "$(date +%s)"
say release "$(. /etc/os-release 2>/dev/null; echo "${ID:-} ${VERSION_ID:-}")"
say architecture "$(dpkg --print-architecture 2>/dev/null || uname -m)"
say init "$(cat /proc/1/comm)"
if [ "$(id -u)" = 0 ]; then say sudo root
elif ! command -v sudo >/dev/null; then say sudo missing
elif sudo -n true 2>/dev/null; then say sudo yes
else say sudo refused; fi
say python "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
say disk "$(df -Pk / | awk 'NR == 2 {print $4}')"
say memory "$(awk '$1 == "MemTotal:" {print $2}' /proc/meminfo)"
say interface "$(ip -o addr show 2>/dev/null | awk -v a="$address" '{split($4, p, "/"); if (p[1] == a) print $2}')"
say links "$(ip -o link show 2>/dev/null | awk -F': ' '{sub("@.*", "", $2); if ($2 != "lo") printf "%s ", $2}')"

for unit in ufw firewalld netfilter-persistent shorewall; do
	[ "$(systemctl is-active "$unit" 2>/dev/null)" != active ] || say firewall "$unit"
done
root nft list ruleset 2>/dev/null | awk '$1 == "table" {t = $2 " " $3} / hook / && t != "inet jinku" && !(t in seen) {seen[t] = 1; print "firewall\tnft table " t}'
for family in ip ip6; do # the older interface of the kernel, which nft does not list
	for table in $(root cat "/proc/net/${family}_tables_names" 2>/dev/null); do say firewall "${family}tables table $table"; done
done

uri=$(apt-get --print-uris update 2>/dev/null | sed -n "s/^'\(http[^']*Release\)' .*/\1/p" | head -n 1)
if [ -z "$uri" ]; then
	say mirror "no package source in /etc/apt"
else
	folder=$(mktemp -d)
	if timeout 40 /usr/lib/apt/apt-helper -o "Acquire::http::Proxy=$mirror" -o "Acquire::https::Proxy=$mirror" \
		-o Acquire::http::Pipeline-Depth=0 -o Acquire::http::Timeout=15 -o Acquire::Retries=0 download-file "$uri" "$folder/release" >"$folder/log" 2>&1; then
		say mirror ok
	else
		say mirror "$(grep -h '^E:\|^W:\|Err:' "$folder/log" | tail -n 1 | cut -c 1-200)"
	fi
	rm -rf "$folder"
fi
for clock in $clocks; do
	say time "$clock $(python3 - "$clock" 2>/dev/null <<'END'
import socket, sys
asked = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(3)
try:
    asked.sendto(b"\x23" + 47 * b"\0", (sys.argv[1], 123))
    print("answers" if len(asked.recv(512)) >= 48 else "")
except OSError:
    pass
END
	)"
done

if systemd-detect-virt --quiet --container || ! root modprobe --quiet --dry-run dm_crypt 2>/dev/null; then say dmcrypt no; else say dmcrypt yes; fi
printf '%s\n' "$volumes" | while read -r name mount device; do
	[ -n "$name" ] || continue
	size=$(findmnt --noheadings --bytes --output SIZE --mountpoint "$mount" 2>/dev/null | head -n 1 | tr -d ' ')
	if [ -n "$size" ]; then
		say volume "$name mounted $size"
	elif [ -z "$device" ]; then
		say volume "$name absent"
	elif [ ! -b "$device" ]; then
		say volume "$name nodevice"
	else
		bytes=$(root blockdev --getsize64 "$device" 2>/dev/null)
		label=$(root blkid -p -s LABEL -o value "$device" 2>/dev/null)
		kind=$(root blkid -p -s TYPE -s PTTYPE -o value "$device" 2>/dev/null | head -n 1)
		parts=$(lsblk --noheadings --list --output NAME "$device" 2>/dev/null | wc -l)
		first=$(root head -c 1048576 "$device" 2>/dev/null | tr -d '\0' | head -c 1 | wc -c)
		if [ -n "$kind" ]; then say volume "$name holds ${bytes:-0} $kind ${label:--}"
		elif [ "$parts" -gt 1 ] || [ "$first" != 0 ]; then say volume "$name holds ${bytes:-0} something -"
		else say volume "$name empty ${bytes:-0}"; fi
	fi
done
