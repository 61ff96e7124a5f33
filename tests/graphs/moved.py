# SPDX-License-Identifier: Apache-2.0
"""moved.py FILE.safetensors NAME: are all numbers but those of NAME exactly 0, and those not?"""
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
(size,) = struct.unpack("<Q", data[:8])
body = data[8 + size:]
moved = {
    name: any(body[entry["data_offsets"][0]:entry["data_offsets"][1]])
    for name, entry in json.loads(data[8:8 + size]).items()
    if name != "__metadata__"
}
print([name for name in moved if moved[name]])
sys.exit(0 if len(moved) > 1 and all(moved[name] == (name == sys.argv[2]) for name in moved) else 1)
