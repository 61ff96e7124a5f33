# SPDX-License-Identifier: Apache-2.0
"""libflow.so through flow.h by ctypes: as much of it as the benchmark needs."""
import ctypes as c

import numpy as np

TYPES = {np.dtype("float32"): 0, np.dtype("float64"): 3, np.dtype("int32"): 4, np.dtype("int64"): 5, np.dtype("uint8"): 6, np.dtype("bool"): 7}


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_int32), ("device", c.c_int32), ("rank", c.c_int32), ("reserved", c.c_int32),
                ("shape", c.c_int64 * 8), ("strides", c.c_int64 * 8)]


class RuntimeOptions(c.Structure):
    _fields_ = [("size", c.c_uint32), ("threads", c.c_int32), ("device", c.c_char_p), ("plugin_path", c.c_char_p),
                ("resize", c.c_void_p), ("resize_context", c.c_void_p)]


class SessionOptions(c.Structure):
    _fields_ = [("size", c.c_uint32), ("streams", c.c_int32), ("stream", c.c_char_p), ("profile", c.c_bool)]


class TrainerOptions(c.Structure):
    _fields_ = [("size", c.c_uint32), ("streams", c.c_int32), ("resume", c.c_bool), ("profile", c.c_bool), ("steps", c.c_int64), ("dir", c.c_char_p)]


class Event(c.Structure):
    _fields_ = [("size", c.c_uint32), ("kind", c.c_int32), ("stage", c.c_char_p), ("stage_number", c.c_int64), ("stage_count", c.c_int64),
                ("step", c.c_int64), ("steps", c.c_int64), ("total", c.c_int64), ("loss", c.c_double), ("grad_norm", c.c_double), ("rate", c.c_double)]


class Error(c.Structure):
    _fields_ = [("code", c.c_int32), ("line", c.c_int32), ("column", c.c_int32), ("file", c.c_char_p), ("text", c.c_char_p)]


def tensor_of(array):
    """A tensor around the array's memory; the array must live as long."""
    t = Tensor(data=array.ctypes.data, dtype=TYPES[array.dtype], rank=array.ndim)
    for i in range(array.ndim): t.shape[i], t.strides[i] = array.shape[i], array.strides[i] // array.itemsize
    return t


class Library:
    def __init__(self, path, plugins, threads):
        self.lib, self.runtime = c.CDLL(path), c.c_void_p()
        self.lib.flow_errors_get.restype = Error
        self.lib.flow_session_output_at.restype = c.POINTER(Tensor)
        for name in ("flow_errors_get", "flow_session_output_at"): getattr(self.lib, name).argtypes = [c.c_void_p, c.c_int32 if "errors" in name else c.c_size_t]
        options = RuntimeOptions(c.sizeof(RuntimeOptions), threads, None, plugins.encode(), None, None)
        self.call("flow_runtime_new", c.byref(options), last=c.byref(self.runtime))

    def call(self, name, *arguments, last=None):
        errors = c.c_void_p()
        f = getattr(self.lib, name)
        if f(*arguments, c.byref(errors), *([] if last is None else [last])) < 0:
            raise RuntimeError("; ".join(self.lib.flow_errors_get(errors, i).text.decode() for i in range(self.lib.flow_errors_count(errors))))

    def graph(self, text, params=None, path="bench.yaml"):
        return Graph(self, text, params or {}, path)


class Graph:
    def __init__(self, library, text, params, path):
        self.library, self.handle = library, c.c_void_p()
        body = text.encode()
        library.call("flow_graph_parse", library.runtime, path.encode(), body, c.c_size_t(len(body)), None, last=c.byref(self.handle))
        for name, value in params.items():
            value = np.ascontiguousarray(value.detach().numpy() if hasattr(value, "detach") else value)
            library.call("flow_graph_set", self.handle, name.encode(), c.byref(tensor_of(value)))

    def session(self, stream=None):
        return Session(self, stream)

    def trainer(self, inputs):
        return Trainer(self, inputs)


class Trainer:
    """Steps on the same inputs, one a call."""
    def __init__(self, graph, inputs):
        self.library, self.graph, self.handle, self.event = graph.library, graph, c.c_void_p(), Event(c.sizeof(Event))
        options = TrainerOptions(c.sizeof(TrainerOptions), 1, False, False, 1 << 40, None)
        self.library.call("flow_trainer_new", graph.handle, c.byref(options), last=c.byref(self.handle))
        for name, array in inputs.items():
            array = np.ascontiguousarray(array.detach().numpy() if hasattr(array, "detach") else array)
            self.library.call("flow_trainer_input", self.handle, name.encode(), c.byref(tensor_of(array)))

    def step(self):
        self.event.kind = 0
        while self.event.kind != 2: self.library.call("flow_trainer_next", self.handle, c.byref(self.event))
        return self.event.loss


class Session:
    def __init__(self, graph, stream):
        self.library, self.graph, self.handle, self.held = graph.library, graph, c.c_void_p(), {}
        options = SessionOptions(c.sizeof(SessionOptions), 1, stream.encode() if stream else None, False)
        self.library.call("flow_session_new", graph.handle, c.byref(options), last=c.byref(self.handle))
        self.function = self.library.lib.flow_session_run

    def input(self, name, array):
        array = np.asarray(array.detach().numpy() if hasattr(array, "detach") else array)
        self.held[name] = array
        self.library.call("flow_session_input", self.handle, name.encode(), c.byref(tensor_of(array)))

    def feedback(self, name, output):
        self.library.call("flow_session_feedback", self.handle, name.encode(), output.encode())

    def reset(self):
        self.library.lib.flow_session_reset(self.handle)

    def run(self):
        if self.function(self.handle, None) < 0: self.library.call("flow_session_run", self.handle)

    def output(self, index=0):
        t = self.library.lib.flow_session_output_at(self.handle, index).contents
        shape = tuple(t.shape[:t.rank])
        dtype = next(k for k, v in TYPES.items() if v == t.dtype)
        return np.ctypeslib.as_array((c.c_uint8 * (int(np.prod(shape)) * dtype.itemsize)).from_address(t.data)).view(dtype).reshape(shape)
