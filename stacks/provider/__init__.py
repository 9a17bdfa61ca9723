# SPDX-License-Identifier: Apache-2.0
"""The Pulumi provider `jinku`: image, router, network, volume and host of the backend `lab`."""


def main() -> None:
    """Entry of `pulumi-resource-jinku`, which the engine starts and gives its address."""
    from .server import serve  # noqa: PLC0415 - the mirror and the tests import this package without Pulumi

    serve()
