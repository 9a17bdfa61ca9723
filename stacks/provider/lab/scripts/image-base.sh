# SPDX-License-Identifier: Apache-2.0
# Makes $DRAFT/root: a Debian $SUITE with $PACKAGES from $SOURCES. Run in a mount namespace of its own.
printf '%s\n' "$SOURCES" | mmdebstrap --quiet --variant=minbase --skip=cleanup/apt/lists \
	--include="$(printf %s "$PACKAGES" | tr ' ' ',')" "$SUITE" "$DRAFT/root" -
root=$DRAFT/root
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"

# What makes a host that host is given at its creation, not by the image.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/etc/machine-id" "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"

# The account that cloud-init would make: no password, any command through sudo.
chroot "$root" useradd --create-home --shell /bin/bash --comment 'Jinku automation' automation
printf 'automation ALL=(ALL:ALL) NOPASSWD: ALL\n' > "$root/etc/sudoers.d/90-automation"
chmod 0440 "$root/etc/sudoers.d/90-automation"

# One way to listen: the daemon. The socket unit would answer before the host is up.
chroot "$root" systemctl --quiet disable ssh.socket 2>/dev/null || :
chroot "$root" systemctl --quiet enable ssh.service systemd-networkd.service

# A host that has all that its lists offer need not ask apt at its first start (jinku-updates fresh).
offered=$(chroot "$root" apt-get -q --simulate --with-new-pkgs upgrade)
chroot "$root" apt-get clean
printf '%s\n' "$offered" | grep -q '^Inst ' || touch "$root/var/lib/apt/jinku-newest"

# systemd compares these with /usr and would otherwise rebuild its caches at every first boot.
touch "$root/etc/.updated" "$root/var/.updated"
