# SPDX-License-Identifier: Apache-2.0
# Machines of the tier room.

# The simulated devices know the monitor by this account; it may see no other secret.
path "kv/monitor/room" { capabilities = ["read"] }

# The simulated machine beside the UPS may say that all must stop; no other machine may.
path "kv/power/primary" { capabilities = ["read"] }
