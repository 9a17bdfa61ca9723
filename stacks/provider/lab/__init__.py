# SPDX-License-Identifier: Apache-2.0
"""The mechanics of the lab: systemd-nspawn hosts on overlayfs, namespaces as routers and switches. Knows nothing of Pulumi.

Every module offers idempotent coroutines: `ensure` (make, or mend what is half made), `inspect` (what is really there), `remove`.
"""
