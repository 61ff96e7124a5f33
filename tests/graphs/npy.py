#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints an npy file of integers as nested lists."""
import ast, struct, sys

with open(sys.argv[1], "rb") as file:
    assert file.read(6) == b"\x93NUMPY"
    major, _ = file.read(2)
    size, = struct.unpack("<H" if major == 1 else "<I", file.read(2 if major == 1 else 4))
    head = ast.literal_eval(file.read(size).decode())
    data = file.read()
code = {"<i8": "q", "<i4": "i", "|u1": "B"}[head["descr"]]
numbers = list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))
shape = head["shape"]


def nest(values, shape):
    if len(shape) == 1: return values
    step = len(values) // shape[0] if shape[0] else 0
    return [nest(values[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


print(nest(numbers, shape) if shape else numbers[0])
