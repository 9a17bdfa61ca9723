# SPDX-License-Identifier: Apache-2.0
"""The exit codes of `jinku`, the errors that lead to them, and the text of them that every `--help` prints."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a verb's exit code means. `jinku ssh` passes on the remote command's own."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_CONFORM = 3
    LOCKED = 4
    PREREQUISITE = 5
    INCOMPLETE = 6
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line for people."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "something that was tried did not work",
    ExitCode.USAGE: "the command line or environment.yaml cannot be used; nothing was touched",
    ExitCode.NOT_CONFORM: "check, up: at least one finding that nobody has waived",
    ExitCode.LOCKED: "another jinku process is changing the environment",
    ExitCode.PREREQUISITE: "this machine lacks something; nothing was touched (`jinku doctor` names the remedy)",
    ExitCode.INCOMPLETE: "check, up: no finding, but some test could not judge; unseal, rekey: more shares are needed",
    ExitCode.INTERRUPTED: "interrupted; the same command again finishes the work",
}

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value:<4}{code.meaning}" for code in ExitCode)


class Failure(Exception):  # noqa: N818 - it is the end of a verb, and not always an error
    """A verb ends with this text on standard error and this exit code."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code
