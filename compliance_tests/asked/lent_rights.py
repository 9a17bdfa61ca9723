# SPDX-License-Identifier: Apache-2.0
"""Runs on a host as root: the programs whose file lends rights to whoever starts them, and what lets one account act as another.

A line each: `setuid PATH` by its mode (setuid or setgid), `capable PATH` by a capability of the file. One walk for both: it is what takes
the time. It goes over the root and over each other file system that is not mounted nosuid, such as a volume. `written PATH`: a home, or a
file in it that its owner's shell runs, which others may write.
"""

import os
import pwd
import re
import subprocess
from pathlib import Path

#: File systems that keep files; what the kernel shows of itself is none.
KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "overlay", "tmpfs", "ramfs")


#: Numbers of people's accounts.
PEOPLE = range(1000, 65534)
#: What a shell runs by itself, and the home that they lie in.
RUN = ("", ".bashrc", ".profile", ".bash_profile", ".bash_login", ".bash_logout", ".ssh")


def written_by_others(accounts):
    """Of root and of people: their homes, and what their shells run, as far as it is another's or others may write it."""
    for one in accounts:
        if one.pw_uid == 0 or one.pw_uid in PEOPLE:
            for path in (Path(one.pw_dir) / name for name in RUN):
                try:
                    seen = path.stat()
                except OSError:
                    continue
                if seen.st_uid not in (0, one.pw_uid) or seen.st_mode & 0o022:
                    yield path


def places(mounts):
    """Where to begin, of the lines of mountinfo: of each file system once, at the mount that shows all of it."""
    shown = {}
    for line in mounts:
        before, _, after = line.partition(" - ")
        _, _, device, root, point, options, *_ = before.split()
        if after.split()[0] in KINDS and "nosuid" not in options.split(","):
            shown.setdefault(device, {})[root] = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)
    found = {"/"}
    for roots in shown.values():
        found |= {roots["/"]} if "/" in roots else set(roots.values())
    return sorted(found)


if __name__ == "__main__":
    begin = places(Path("/proc/self/mountinfo").read_text().splitlines())
    command = ("find", *begin, "-xdev", "-type", "f", "-perm", "/6111", "-printf", r"%m %p\0")
    files = subprocess.run(command, capture_output=True, check=False).stdout  # a file that is gone meanwhile is none
    for entry in files.split(b"\0"):
        mode, _, name = entry.partition(b" ")
        if not name:
            continue
        if int(mode, 8) & 0o6000:
            print("setuid", os.fsdecode(name))
        try:
            if "security.capability" in os.listxattr(name):
                print("capable", os.fsdecode(name))
        except OSError:
            continue
    for path in written_by_others(pwd.getpwall()):
        print("written", path)
