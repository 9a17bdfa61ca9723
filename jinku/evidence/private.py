# SPDX-License-Identifier: Apache-2.0
"""Files that only their owner may read: evidence says much about the hosts."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` at mode 0600, whatever the umask says and the file was before.

    It is written beside and renamed, so that nobody reads half of it. :raises OSError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(text)
    scratch.rename(path)


def private_folder(path: Path) -> None:
    """Make the folder ``path`` at mode 0700; one that is there is narrowed to it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
