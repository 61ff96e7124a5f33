#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DLPack with numpy and, where it is there, torch: their tensors go into a session as they lie, its results come out as theirs.

    tests/embed/dlpack.py BUILD
"""
import ctypes
import sys

import numpy

try:
    import torch
except ImportError:
    torch = None

flow = ctypes.CDLL(sys.argv[1] + "/libflow.so")
api = ctypes.pythonapi
api.PyCapsule_GetPointer.restype = ctypes.c_void_p
api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_New.restype = ctypes.py_object
api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
api.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int32), ("device", ctypes.c_int32), ("rank", ctypes.c_int32),
                ("reserved", ctypes.c_int32), ("shape", ctypes.c_int64 * 8), ("strides", ctypes.c_int64 * 8)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("line", ctypes.c_int32), ("column", ctypes.c_int32), ("file", ctypes.c_char_p),
                ("text", ctypes.c_char_p)]


flow.flow_errors_get.restype = Error
flow.flow_session_output.restype = ctypes.POINTER(Tensor)
errors = ctypes.c_void_p()


def call(name, *words):
    if getattr(flow, name)(*words) < 0:
        raise RuntimeError(flow.flow_errors_get(errors, 0).text.decode())


VERSIONED, PLAIN = b"dltensor_versioned", b"dltensor"


def taken(owner):
    """The capsule of another library's tensor as a struct flow_tensor; both must stay."""
    try:
        capsule = owner.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = owner.__dlpack__()
    tensor = Tensor()
    name = VERSIONED if api.PyCapsule_IsValid(capsule, VERSIONED) else PLAIN
    function = "flow_tensor_from_dlpack" + ("_versioned" if name == VERSIONED else "")
    call(function, ctypes.c_void_p(api.PyCapsule_GetPointer(capsule, name)), ctypes.byref(errors), ctypes.byref(tensor))
    return capsule, tensor


class Given:
    """A struct flow_tensor as others ask for it."""

    def __init__(self, tensor, copy):
        self.tensor, self.flags = tensor, 2 if copy else 0

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, stream=None, max_version=None, dl_device=None, copy=None):
        versioned = max_version is not None and max_version[0] >= 1
        managed = ctypes.c_void_p()
        function = "flow_tensor_to_dlpack" + ("_versioned" if versioned else "")
        call(function, self.tensor, ctypes.c_uint64(self.flags), None, None, ctypes.byref(errors), ctypes.byref(managed))
        return api.PyCapsule_New(managed, VERSIONED if versioned else PLAIN, None)


runtime = ctypes.c_void_p()
call("flow_runtime_new", None, ctypes.byref(errors), ctypes.byref(runtime))


def session_of(dtype):
    text = f"flow: 1\ninputs: {{x: {{dtype: {dtype}, shape: [A, B]}}}}\nnodes: {{y: {{op: add, in: [x, x]}}}}\noutputs: {{y: y}}\n".encode()
    graph, session = ctypes.c_void_p(), ctypes.c_void_p()
    call("flow_graph_parse", runtime, b"double", text, ctypes.c_size_t(len(text)), None, ctypes.byref(errors), ctypes.byref(graph))
    call("flow_session_new", graph, None, ctypes.byref(errors), ctypes.byref(session))
    return session


def doubled(session, owner):
    capsule, x = taken(owner)
    call("flow_session_input", session, b"x", ctypes.byref(x), ctypes.byref(errors))
    call("flow_session_run", session, ctypes.byref(errors))
    del capsule
    return flow.flow_session_output(session, b"y")


count = 0
for dtype, kind in {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64", "u8": "uint8", "f16": "float16"}.items():
    session = session_of(dtype)
    whole = (numpy.arange(24).reshape(4, 6) % 11).astype(kind)
    for x in (whole, whole.T, whole[::2, 1::2], whole[::-1], whole[:0]):
        y = doubled(session, x)
        for copy in (False, True):
            numpy.testing.assert_array_equal(numpy.from_dlpack(Given(y, copy)), x + x)
            count += 1
if torch:
    for dtype, kind in {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "i64": torch.int64}.items():
        session = session_of(dtype)
        whole = (torch.arange(24).reshape(4, 6) % 11).to(kind)
        for x in (whole, whole.T, whole[1:, ::2], torch.ones(1, 1, dtype=kind).expand(3, 5)):
            y = doubled(session, x)
            for copy in (False, True):
                assert torch.equal(torch.from_dlpack(Given(y, copy)), x + x), (dtype, x)
                count += 1
print(f"{count} tensors in and out" + ("" if torch else " (no torch here)"))
