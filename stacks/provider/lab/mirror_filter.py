# SPDX-License-Identifier: Apache-2.0
"""Loaded by proxy.py in the mirror's own process: refuses every host that is not one of the package sources."""

import os

from proxy.http.exception import HttpRequestRejected
from proxy.http.parser import HttpParser
from proxy.http.proxy import HttpProxyBasePlugin


class AllowedHosts(HttpProxyBasePlugin):
    """Lets a request pass only to a host named in JINKU_MIRROR_HOSTS."""

    def before_upstream_connection(self, request: HttpParser) -> HttpParser | None:
        """Refuse with 403 before anything is connected."""
        allowed = os.environ.get("JINKU_MIRROR_HOSTS", "").split(",")
        host = (request.host or b"").decode(errors="replace")
        if host not in allowed or request.port not in (80, 443):
            raise HttpRequestRejected(status_code=403, reason=b"Not a package source")
        return request
