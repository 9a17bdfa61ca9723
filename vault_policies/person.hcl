# SPDX-License-Identifier: Apache-2.0
# A person (<person> is the name), beside what the duty allows. Rendered once per person.

# Has the own SSH key signed for some hours; the role fixes the principal, the extensions and from where it serves.
path "ssh_people/sign/<person>" { capabilities = ["update"] }
