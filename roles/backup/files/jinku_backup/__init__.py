# SPDX-License-Identifier: Apache-2.0
"""What the backup host does: it fetches, keeps encrypted, says how old its copies are, and restores.

Standard library only. The work itself is done by pgBackRest (database), pg_receivewal (its log of changes) and restic
(attachments, vault). Errors are one line on standard error, ``<where>: <what is wrong>; <what would be right>``, and exit code 1.
"""
