# SPDX-License-Identifier: Apache-2.0
# Machines of the tier crm.

# The CRM reads its own database password, and the key of its people's one-time codes; it may see no other secret.
path "database/static-creds/crm" { capabilities = ["read"] }
path "kv/crm/factor" { capabilities = ["read"] }
