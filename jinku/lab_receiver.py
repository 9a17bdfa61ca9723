# SPDX-License-Identifier: Apache-2.0
"""The lab's receiver of alarms, as its two sides know it. Nothing is imported here: what clears a machine runs without our packages."""

#: Name in the certificate of the receiver, and its two ports on the controller's address.
RECEIVER = "receiver.jinku.internal"
RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT = 2587, 2443
