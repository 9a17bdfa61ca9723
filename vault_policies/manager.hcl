# SPDX-License-Identifier: Apache-2.0
# Whoever runs `jinku up`: sets up engines, policies and roles, and reads no application's secret and issues no
# certificate. Who may write policies could write one that says more; both audit devices record that, and the
# expectations beside these files are asked at every check. What the manager may not touch at all is who logs in as
# an operator (auth/operators) and the audit devices (part of the server's own configuration). Rendered for the environment: what
# stands in < > is filled in from jinku/vault/database.py.

# Policies follow the files in vault_policies/.
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete"] }

# How the passwords that the database engine makes are composed: so and not otherwise, or they could be guessed.
path "sys/policies/password/database" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "policy" = ["<password-rule>"] }
}

# The engines and login methods of an environment, by name and sort: no other can be mounted. Of their settings the life of what they
# give out is the only one, and has one value: others would have the audit log show secrets in clear, or tell strangers what there is.
path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/pki_int" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["pki"] }
}
path "sys/mounts/pki_int/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["2592000"], "default_lease_ttl" = ["2592000"] }
}
path "sys/mounts/pki_identity" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["pki"] }
}
path "sys/mounts/pki_identity/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["315360000"], "default_lease_ttl" = ["315360000"] }
}
path "sys/mounts/database" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["database"] }
}
path "sys/mounts/database/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["86400"], "default_lease_ttl" = ["86400"] }
}
path "sys/mounts/volumes" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["transit"] }
}
path "sys/mounts/volumes/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["86400"], "default_lease_ttl" = ["86400"] }
}
path "sys/mounts/kv" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["kv"] }
}
path "sys/mounts/kv/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["31536000"], "default_lease_ttl" = ["31536000"] }
}
path "sys/mounts/backup" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["kv"] }
}
path "sys/mounts/backup/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["86400"], "default_lease_ttl" = ["86400"] }
}
path "sys/auth" { capabilities = ["read"] }
path "sys/auth/hosts" {
  capabilities       = ["create", "update", "sudo"]
  allowed_parameters = { "type" = ["cert"] }
}
path "sys/auth/hosts/tune" {
  capabilities       = ["update", "sudo"]
  allowed_parameters = { "max_lease_ttl" = ["3600"], "default_lease_ttl" = ["3600"] }
}
path "sys/auth/approle" {
  capabilities       = ["create", "update", "sudo"]
  allowed_parameters = { "type" = ["approle"] }
}
path "sys/auth/approle/tune" {
  capabilities       = ["update", "sudo"]
  allowed_parameters = { "max_lease_ttl" = ["3600"], "default_lease_ttl" = ["3600"] }
}

# The intermediate authority: its key is made inside, its request goes to the root.
path "pki_int/intermediate/generate/internal" { capabilities = ["update"] }
path "pki_int/intermediate/set-signed" { capabilities = ["update"] }
path "pki_int/issuers" { capabilities = ["list"] }
path "pki_int/config/issuers" { capabilities = ["read", "update"] }

# The authority of the machines' identities: made inside, once; it cannot be given a foreign key.
path "pki_identity/issuers" { capabilities = ["list"] }
path "pki_identity/root/generate/internal" { capabilities = ["update"] }

# One role per machine in both authorities, and its removal when the machine leaves.
path "pki_int/roles" { capabilities = ["list"] }
path "pki_int/roles/host-*" { capabilities = ["create", "read", "update", "delete"] }
path "pki_identity/roles" { capabilities = ["list"] }
path "pki_identity/roles/host-*" { capabilities = ["create", "read", "update", "delete"] }

# How each machine logs in.
path "auth/hosts/certs" { capabilities = ["list"] }
path "auth/hosts/certs/host-*" { capabilities = ["create", "read", "update", "delete"] }
path "auth/approle/role" { capabilities = ["list"] }
path "auth/approle/role/+" { capabilities = ["create", "read", "update", "delete"] }
path "auth/approle/role/+/role-id" { capabilities = ["read"] }

# A machine's first secret, and only wrapped: the manager passes it on and cannot see it.
path "auth/approle/role/+/secret-id" {
  capabilities     = ["create", "update"]
  min_wrapping_ttl = "1s"
  max_wrapping_ttl = "10m"
}

# The two authorities for SSH: their keys are made inside, once, and cannot be given. The manager says who may have a key
# signed, and signs none.
path "sys/mounts/ssh_people" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["ssh"] }
}
path "sys/mounts/ssh_people/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["28800"], "default_lease_ttl" = ["28800"] }
}
path "sys/mounts/ssh_hosts" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["ssh"] }
}
path "sys/mounts/ssh_hosts/tune" {
  capabilities       = ["update"]
  allowed_parameters = { "max_lease_ttl" = ["2592000"], "default_lease_ttl" = ["2592000"] }
}
path "ssh_people/config/ca" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "generate_signing_key" = [true], "key_type" = ["ed25519"] }
}
path "ssh_hosts/config/ca" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "generate_signing_key" = [true], "key_type" = ["ed25519"] }
}
path "ssh_people/roles" { capabilities = ["list"] }
path "ssh_people/roles/*" { capabilities = ["create", "read", "update", "delete"] }
path "ssh_hosts/roles" { capabilities = ["list"] }
path "ssh_hosts/roles/host-*" { capabilities = ["create", "read", "update", "delete"] }

# How people log in to have their key signed, and that they no longer do when they have left.
path "sys/auth/people" {
  capabilities       = ["create", "update", "sudo"]
  allowed_parameters = { "type" = ["cert"] }
}
path "sys/auth/people/tune" {
  capabilities       = ["update", "sudo"]
  allowed_parameters = { "max_lease_ttl" = ["3600"], "default_lease_ttl" = ["3600"] }
}
path "auth/people/certs" { capabilities = ["list"] }
path "auth/people/certs/*" { capabilities = ["create", "read", "update", "delete"] }

# People's second technique: one method, demanded of everybody who logs in as a person, and a new secret for whom it is handed
# to. With a person's secret alone nobody logs in: the key is with the person.
path "identity/mfa/method/totp" { capabilities = ["create", "update", "list"] }
path "identity/mfa/method/totp/admin-generate" { capabilities = ["create", "update"] }
path "identity/mfa/method/totp/admin-destroy" { capabilities = ["create", "update"] }
path "identity/mfa/login-enforcement/people" { capabilities = ["create", "read", "update"] }
path "identity/entity/name" { capabilities = ["list"] }
path "identity/entity/name/person-*" { capabilities = ["create", "read", "update", "delete"] }
path "identity/entity-alias" { capabilities = ["create", "update"] }

# The database engine: where it connects and whose password it rotates; not the passwords. Each value is the one of this environment:
# another server would be told the passwords, and another statement would run as the engine.
path "database/config/crm" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "plugin_name"             = ["postgresql-database-plugin"]
    "allowed_roles"           = [["crm"]]
    "connection_url"          = ["<connection-url>"]
    "max_connection_lifetime" = ["300s"]
    "password_authentication" = ["scram-sha-256"]
    "password_policy"         = ["database"]
  }
}
path "database/static-roles" { capabilities = ["list"] }
path "database/static-roles/crm" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "db_name"             = ["crm"]
    "username"            = ["crm"]
    "rotation_period"     = ["86400"]
    "rotation_statements" = [["SELECT jinku.set_password('{{name}}', '{{password}}')"]]
  }
}

# The key of the backups: put there once; neither seen nor replaced afterwards.
path "backup/" { capabilities = ["list"] }
path "backup/repository" { capabilities = ["create"] }

# Rotate the CRM's password now, without seeing it (`jinku rotate`).
path "database/rotate-role/crm" { capabilities = ["create", "update"] }

# A wrapping key for each machine's volumes: made inside; it can be neither used, shown nor deleted from here.
path "volumes/keys/+" { capabilities = ["create", "read", "update"] }

# Secrets that people bring, such as the sensors' account: written and listed, never read back.
path "kv/monitor" { capabilities = ["list"] }
path "kv/monitor/room" { capabilities = ["create", "update"] }
path "kv/power" { capabilities = ["list"] }
path "kv/power/host" { capabilities = ["create", "update"] }
path "kv/power/primary" { capabilities = ["create", "update"] }

# The key of the one-time codes of the CRM's people: put there once; neither seen nor replaced afterwards.
path "kv/crm" { capabilities = ["list"] }
path "kv/crm/factor" { capabilities = ["create"] }

# Ask what a policy allows, by a token of a minute that can be used from nowhere.
path "auth/token/create/expect" {
  capabilities        = ["update"]
  allowed_parameters  = { "policies" = [], "ttl" = ["60s"] }
  required_parameters = ["policies", "ttl"]
}
path "sys/capabilities" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }

# Look at the audit devices, the members of the cluster, and who may log in for which duty.
path "sys/audit" { capabilities = ["read", "sudo"] }
path "sys/storage/raft/configuration" { capabilities = ["read"] }
path "auth/operators/certs" { capabilities = ["list"] }
path "auth/operators/certs/*" { capabilities = ["read"] }
path "auth/token/roles/expect" { capabilities = ["read"] }
