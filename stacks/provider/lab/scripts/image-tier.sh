# SPDX-License-Identifier: Apache-2.0
# Makes $DRAFT/root: the layer that installing $PACKAGES and $PARTS leaves over $LOWER. Run in a mount namespace of its own.
mkdir "$DRAFT/root" "$DRAFT/work" "$DRAFT/merged"
root=$DRAFT/merged
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DRAFT/root,workdir=$DRAFT/work" "$root"

# Nothing of the controller's /dev: a package that brings udev would change the modes there.
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
	set -- $node
	mknod -m 0666 "$root/dev/$1" c "$2" "$3"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"

printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" # nothing starts in an image
chmod 0755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"

mkdir "$root/run/parts"
for part in $PARTS; do
	cp "$part" "$root/run/parts/"
	PACKAGES="$PACKAGES /run/parts/${part##*/}"
done
in_root() {
	unshare --pid --fork --kill-child -- chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root "$@"
}
install() {
	# shellcheck disable=SC2086 # a list of package names
	in_root apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o APT::Sandbox::User=root \
		--no-install-recommends install $PACKAGES
}
# The lists of the base may be older than the archive: then once more with new ones.
install || { in_root apt-get -q update && install; }

# As in image-base.sh; the note of the base is older than what came since.
offered=$(in_root apt-get -q --simulate --with-new-pkgs upgrade)
in_root apt-get clean
printf '%s\n' "$offered" | grep -q '^Inst ' || touch "$root/var/lib/apt/jinku-newest"
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
touch "$root/etc/.updated" "$root/var/.updated"
umount -R "$root"
rm -rf "$DRAFT/work" "$DRAFT/merged"
