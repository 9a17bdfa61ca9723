# SPDX-License-Identifier: Apache-2.0
# A machine (<host> is its name) that holds no identity yet. Rendered once per machine.

# Its one request: to have its identity signed. The token has a single use.
path "pki_identity/sign/host-<host>" { capabilities = ["update"] }
