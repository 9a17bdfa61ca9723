# SPDX-License-Identifier: Apache-2.0
# Machines of the tier monitor.

# The monitor asks the sensors of the machine room under this account; it may see no other secret.
path "kv/monitor/room" { capabilities = ["read"] }
