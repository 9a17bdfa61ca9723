# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: try passwords through PAM, as a login would. Arguments: service, user, password, password ...

Prints one line a try: ``<code> <what PAM said>``; code 0 is success. The delay after a failure is left out; counting is not.
"""

import ctypes
import sys

PAM_FAIL_DELAY, PAM_RHOST = 10, 4
pam, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p


class Message(ctypes.Structure):
    """pam_message of <security/_pam_types.h>."""

    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class Response(ctypes.Structure):
    """pam_response of the same."""

    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


TALK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.POINTER(Response)),
    ctypes.c_void_p,
)
DELAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Conversation(ctypes.Structure):
    """pam_conv of the same."""

    _fields_ = (("talk", TALK), ("data", ctypes.c_void_p))


def attempt(service, user, password):
    said = []

    def talk(count, messages, responses, _data):
        answers = ctypes.cast(libc.calloc(count, ctypes.sizeof(Response)), ctypes.POINTER(Response))
        for number in range(count):
            message = messages[number].contents
            if message.style in (1, 2):  # a prompt, without or with echo
                answers[number].text = libc.strdup(password.encode())
            else:
                said.append(message.text.decode(errors="replace"))
        responses[0] = answers
        return 0

    conversation, no_delay = Conversation(TALK(talk), None), DELAY(lambda *_: None)
    handle = ctypes.c_void_p()
    pam.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    pam.pam_set_item(handle, PAM_FAIL_DELAY, ctypes.cast(no_delay, ctypes.c_void_p))
    pam.pam_set_item(handle, PAM_RHOST, b"127.0.0.1")
    code = pam.pam_authenticate(handle, 0)
    pam.pam_end(handle, code)
    return code, " ".join(said)


for word in sys.argv[3:]:
    print(*attempt(sys.argv[1], sys.argv[2], word))
