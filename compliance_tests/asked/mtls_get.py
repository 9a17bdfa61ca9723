# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: get an HTTPS page with a client certificate. Arguments: address, port, name, path, certificate, key (``none``: none).

Prints ``status N`` and the body, or ``refused REASON`` when the handshake or the request failed. The server must be the environment's
and have that name.
"""

import socket
import ssl
import sys


def main(address, port, name, path, certificate, key):
    context = ssl.create_default_context(cafile="/etc/jinku/tls/ca.pem")
    if certificate != "none":
        context.load_cert_chain(certificate, key)
    try:
        plain = socket.create_connection((address, int(port)), timeout=8)
        with plain, context.wrap_socket(plain, server_hostname=name) as one:
            one.sendall(f"GET {path} HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            answer = b""
            while part := one.recv(65536):
                answer += part
    except ssl.SSLError as error:
        return f"refused {error.reason}"
    except OSError as error:
        return f"unreachable {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    # With TLS 1.3 a server that refuses the certificate says so after the handshake, or just hangs up.
    return f"status {head.split()[1].decode()}\n{body.decode()}" if head else "refused nothing came"


print(main(*sys.argv[1:]))
