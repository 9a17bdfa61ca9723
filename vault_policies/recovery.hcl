# SPDX-License-Identifier: Apache-2.0
# The security administrator in an emergency: may begin to make a root token. Ending it takes the recovery shares of
# a majority of the operators, and both audit devices record each step.

# Begin, follow and cancel the making of a root token, and hand in a share.
path "sys/generate-root-token/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }

# New shares in place of the old ones (`jinku rekey`): the same number of shares is needed for it, and the new ones are tried first.
path "sys/rotate/root/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/rotate/recovery/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }

# Seal the vault at once when it is under attack.
path "sys/seal" { capabilities = ["update", "sudo"] }
