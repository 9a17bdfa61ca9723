# SPDX-License-Identifier: Apache-2.0
# Machines of the tier backup.

# The backup host reads the key with which it encrypts; it may see no other secret.
path "backup/repository" { capabilities = ["read"] }

# It fetches a snapshot of the vault's storage, which stays sealed: nobody reads it without what unseals the vault.
path "sys/storage/raft/snapshot" { capabilities = ["read"] }
