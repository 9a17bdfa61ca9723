# SPDX-License-Identifier: Apache-2.0
# Machines of the tier crm.

# The CRM reads its own database password; it may see no other secret.
path "database/static-creds/crm" { capabilities = ["read"] }
