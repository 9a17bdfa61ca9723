# SPDX-License-Identifier: Apache-2.0
# The audit administrator: sees how the vault is set up and that it records; changes nothing, reads no secret.

# That the audit devices are on, and where they write.
path "sys/audit" { capabilities = ["read", "sudo"] }

# What each policy allows.
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["read"] }

# Which engines and login methods there are.
path "sys/mounts" { capabilities = ["read"] }
path "sys/auth" { capabilities = ["read"] }

# Who may log in, and with which policies.
path "auth/operators/certs" { capabilities = ["list"] }
path "auth/operators/certs/*" { capabilities = ["read"] }
path "auth/people/certs" { capabilities = ["list"] }
path "auth/people/certs/*" { capabilities = ["read"] }
path "ssh_people/roles" { capabilities = ["list"] }
path "ssh_people/roles/*" { capabilities = ["read"] }
path "auth/hosts/certs" { capabilities = ["list"] }
path "auth/hosts/certs/*" { capabilities = ["read"] }

# Which tokens are alive: whose, with which policies, for how long. An accessor is no token: nobody logs in with it.
path "auth/token/accessors" { capabilities = ["list", "sudo"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }

# Which certificates were issued.
path "pki_int/certs" { capabilities = ["list"] }
path "pki_identity/certs" { capabilities = ["list"] }
