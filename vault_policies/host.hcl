# SPDX-License-Identifier: Apache-2.0
# A machine (<host> is its name). Rendered once per machine.

# It renews the certificate that its services show; the role fixes its own names and addresses.
path "pki_int/issue/host-<host>" { capabilities = ["update"] }

# It renews its identity, with which it logs in here, before the year is over; the key stays on the machine.
path "pki_identity/sign/host-<host>" { capabilities = ["update"] }

# It wraps and unwraps the keys of its own volumes at boot; the wrapping key itself nobody sees.
path "volumes/encrypt/host-<host>" { capabilities = ["update"] }
path "volumes/decrypt/host-<host>" { capabilities = ["update"] }

# It has its SSH host key signed, so that people know it without having met it.
path "ssh_hosts/sign/host-<host>" { capabilities = ["update"] }

# It asks how the UPS of its site is, under the account of those that only listen.
path "kv/power/host" { capabilities = ["read"] }
