# SPDX-License-Identifier: Apache-2.0
# The first contact, as root: an account for Jinku, and the disks that it was told to take. Takes nothing from the owner.
# Usage: sh -s -- do|undo ACCOUNT PUBLIC_KEY DISKS; DISKS are lines of "NAME MOUNT DEVICE FORMAT", FORMAT is yes or no.
#        sh -s -- retire OWNER '' '': the other way round, by Jinku's account, once nobody needs the owner's any more.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C
verb=$1 account=$2 key=$3 disks=$4
mark='Jinku automation'
rules=/etc/sudoers.d/90-$account
fail() { echo "$1" >&2; exit 3; }

if [ "$verb" = retire ]; then
	uid=$(getent passwd "$account" | cut -d: -f3)
	[ -n "$uid" ] || exit 0
	[ "$uid" -ge 1000 ] || fail "account $account: is a system account; remove it by hand, or leave it"
	home=$(getent passwd "$account" | cut -d: -f6)
	usermod --expiredate 1 "$account"
	systemctl stop "user@$uid.service" 2>/dev/null || :
	pkill -KILL -u "$uid" || :
	userdel --force "$account"
	if [ -d "$home" ] && [ ! -L "$home" ]; then # its files are kept for the record, closed to the next bearer of its uid
		chown root:root "$home"
		chmod 0700 "$home"
		mv "$home" "$home.left-$(date -u +%Y%m%dT%H%M%SZ)"
	fi
	[ ! -d /var/lib/jinku ] || touch /var/lib/jinku/changed # for hardening/integrity
	echo "account $account: removed; its files are kept in $home.left-*"
	exit 0
fi

comment=$(getent passwd "$account" | cut -d: -f5)
if getent passwd "$account" >/dev/null && [ "${comment%%,*}" != "$mark" ]; then
	fail "account $account: is there and is not Jinku's; rename or remove it"
fi

if [ "$verb" = undo ]; then
	rm -f "$rules"
	if getent passwd "$account" >/dev/null; then userdel --remove --force "$account" 2>/dev/null; fi
	exit 0
fi

# A kernel that maps disks: then an empty one becomes LUKS2, once the vault can wrap its key (hardening/volumes).
maps() { ! systemd-detect-virt --quiet --container && modprobe --quiet dm_crypt; }

# Disks first: what may be refused comes before what is made.
printf '%s\n' "$disks" | while read -r name mount device format; do
	[ -n "$name" ] || continue
	findmnt --mountpoint "$mount" >/dev/null && continue
	label=$(printf %.16s "$name")
	if [ "$(blkid -p -s LABEL -o value "$device")" != "$label" ]; then
		[ "$format" = yes ] || fail "volume $name: $device is not its disk, and may not be formatted"
		[ -z "$(blkid -p -o value "$device")" ] || fail "volume $name: $device holds something"
		[ "$(lsblk --noheadings --list --output NAME "$device" | wc -l)" -le 1 ] || fail "volume $name: $device has parts"
		[ "$(head -c 1048576 "$device" | tr -d '\0' | head -c 1 | wc -c)" = 0 ] || fail "volume $name: $device holds something"
		! maps || continue
		mkfs.ext4 -q -O encrypt -m 0 -L "$label" "$device" # encrypt: for fscrypt
	fi
	[ "$(blkid -p -s TYPE -o value "$device")" != crypto_LUKS ] || continue # jinku-volumes.service opens it
	mkdir -p "$mount"
	uuid=$(blkid -p -s UUID -o value "$device")
	grep -q "^UUID=$uuid " /etc/fstab 2>/dev/null || echo "UUID=$uuid $mount ext4 nodev,nosuid 0 2" >>/etc/fstab
	systemctl daemon-reload
	mount -o nodev,nosuid "$device" "$mount"
	echo "volume $name: $device is mounted at $mount"
done

# Where the roles have been, they keep the account's key and rules, and would count these as edited by hand.
[ ! -e /etc/sudoers.d/jinku ] || exit 0

if ! getent passwd "$account" >/dev/null; then
	useradd --create-home --shell /bin/bash --comment "$mark" "$account"
	echo "account $account: made"
fi
home=$(getent passwd "$account" | cut -d: -f6)
install -d -m 0700 -o "$account" -g "$account" "$home/.ssh"
printf '%s\n' "$key" >"$home/.ssh/authorized_keys"
chown "$account:$account" "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$account" >"$rules.new"
chmod 0440 "$rules.new"
visudo -cqf "$rules.new" || { rm -f "$rules.new"; fail "$rules: visudo refuses it"; }
mv "$rules.new" "$rules"
