# SPDX-License-Identifier: Apache-2.0
"""Runs on a host: ask libpwquality, with the host's own settings, what it thinks of passwords. Arguments: user, password ...

Prints one line a password: ``<score or negative error> <password>``. Nothing is changed.
"""

import ctypes
import sys

library = ctypes.CDLL("libpwquality.so.1")
library.pwquality_default_settings.restype = ctypes.c_void_p
settings = ctypes.c_void_p(library.pwquality_default_settings())
problem = ctypes.c_void_p()
if library.pwquality_read_config(settings, None, ctypes.byref(problem)) != 0:
    sys.exit("the configuration of pwquality does not read")
for word in sys.argv[2:]:
    print(library.pwquality_check(settings, word.encode(), None, sys.argv[1].encode(), ctypes.byref(problem)), word)
