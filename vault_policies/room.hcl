# SPDX-License-Identifier: Apache-2.0
# Machines of the tier room.

# The simulated devices know the monitor by this account; it may see no other secret.
path "kv/monitor/room" { capabilities = ["read"] }
