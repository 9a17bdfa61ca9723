# SPDX-License-Identifier: Apache-2.0
# Keeps one guest running: mounts its file systems, boots it, boots it again when it reboots. Ends with the guest.
# Usage: keeper.sh FOLDER, in a mount namespace of its own: so the kernel unmounts everything when the last process ends.
# FOLDER/boot.env says: NAME HOSTNAME NETNS LOWER HIERARCHIES VOLUMES (lines of "FILE MOUNT").
folder=$1
. "$folder/boot.env"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1         # the guest's systemd knows cgroup v2 only
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network    # its own network namespace's kernel parameters are its own

for root in $HIERARCHIES; do
	mkdir -p "$root/$NAME/keeper"
	echo $$ > "$root/$NAME/keeper/cgroup.procs"
done

mount -t overlay "$NAME" -o "lowerdir=$LOWER,upperdir=$folder/upper,workdir=$folder/work" "$folder/merged"
set --
number=0
while read -r file mount; do
	[ -n "$file" ] || continue
	number=$((number + 1))
	mkdir -p "$folder/volumes/$number" "$folder/merged$mount"
	set -- "$@" "--bind=$folder/volumes/$number:$mount"
done <<END
$VOLUMES
END

# A machine that reboots has forgotten the keys of its volumes; so they are mounted anew for each boot.
attach_volumes() {
	number=0
	while read -r file mount; do
		[ -n "$file" ] || continue
		number=$((number + 1))
		if mountpoint -q "$folder/volumes/$number"; then umount "$folder/volumes/$number"; fi
		e2fsck -p "$file" > /dev/null || [ $? -le 2 ]
		mount -o loop "$file" "$folder/volumes/$number"
	done <<-END
	$VOLUMES
	END
}

while :; do
	attach_volumes
	for root in $HIERARCHIES; do
		# What a dead guest left would kill the units of the next one.
		if [ -d "$root/$NAME/guest" ]; then find "$root/$NAME/guest" -depth -type d -exec rmdir {} +; fi
		mkdir "$root/$NAME/guest"
	done
	code=0
	HIERARCHIES=$HIERARCHIES sh -euc '
		name=$1; shift
		for root in $HIERARCHIES; do echo $$ > "$root/$name/guest/cgroup.procs"; done
		exec systemd-nspawn "$@"
	' sh "$NAME" --quiet --boot --directory="$folder/merged" --machine="$NAME" --hostname="$HOSTNAME" \
		--network-namespace-path="/run/netns/$NETNS" --capability=CAP_NET_ADMIN \
		--register=no --keep-unit --notify-ready=yes --console=read-only \
		--resolv-conf=off --timezone=off --link-journal=no "$@" || code=$?
	[ "$code" = 133 ] || exit "$code" # 133: the guest asked for a reboot
done
