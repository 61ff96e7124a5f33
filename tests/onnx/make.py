#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the models of this folder and records what ONNX Runtime computes on them: NAME_OPSET.onnx, NAME_OPSET.safetensors.
Needs onnx, onnxruntime and numpy. The same numbers each time."""
import json, struct, sys
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

TYPES = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64", np.dtype(np.int64): "I64", np.dtype(np.int32): "I32",
         np.dtype(np.uint8): "U8", np.dtype(np.bool_): "BOOL"}


def save(path, tensors, meta):
    head, at, parts = {"__metadata__": meta}, 0, []
    for name in sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k)):
        a = np.asarray(tensors[name], order="C")
        head[name] = {"dtype": TYPES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
        parts.append(a.tobytes())
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


class Model:
    """Nodes, weights and outputs as they are added; `run` records."""

    def __init__(self, name, opset):
        self.name, self.opset, self.rng = name, opset, np.random.default_rng(sum(map(ord, name)) + opset)
        self.nodes, self.weights, self.inputs, self.outputs, self.feeds, self.count = [], [], [], [], {}, 0

    def input(self, name, value, dims):
        value = np.asarray(value)
        self.inputs.append(h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(value.dtype), dims))
        self.feeds[name] = value
        return name

    def normal(self, *shape):
        return (0.5 * self.rng.standard_normal(shape)).astype(np.float32)

    def weight(self, value, name=None):
        name = name or f"w{len(self.weights)}"
        self.weights.append(nh.from_array(np.asarray(value), name))
        return name

    def ints(self, *values):
        return self.weight(np.array(values, np.int64))

    def op(self, kind, *inputs, outputs=1, **attributes):
        self.count += 1
        out = [f"{kind.lower()}{self.count}" + (f"_{k}" if k else "") for k in range(outputs)]
        self.nodes.append(h.make_node(kind, list(inputs), out, name=f"/{kind.lower()}/{self.count}", **attributes))
        return out[0] if outputs == 1 else out

    def output(self, *names):
        for name in names:
            if isinstance(name, list):
                self.output(*name)
            else:
                self.outputs.append(h.make_empty_tensor_value_info(name))

    def named(self, name, value):
        self.nodes.append(h.make_node("Identity", [value], [name]))
        self.outputs.append(h.make_empty_tensor_value_info(name))

    def run(self):
        graph = h.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.weights)
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", self.opset)], ir_version=8)
        for info, found in zip(model.graph.output, onnx.shape_inference.infer_shapes(model).graph.output):
            info.CopyFrom(found)
        for info in model.graph.output:
            if not info.type.tensor_type.elem_type:
                info.type.tensor_type.elem_type = T.FLOAT
        path = f"{self.name}_{self.opset}"
        onnx.save(model, path + ".onnx")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        found = ort.InferenceSession(path + ".onnx", options, providers=["CPUExecutionProvider"]).run(None, self.feeds)
        tensors = {"in." + k: v for k, v in self.feeds.items()}
        tensors |= {"out." + info.name: value for info, value in zip(self.outputs, found)}
        save(path + ".safetensors", tensors, {"rtol": "2e-5", "atol": "1e-6", "reference": f"ONNX Runtime {ort.__version__}"})


def elementwise(opset):
    m = Model("elementwise", opset)
    x = m.input("x", m.normal(2, 3, 4), ["batch", "time", 4])
    y = m.input("y", np.abs(m.normal(3, 1)) + 0.1, ["time", 1])
    k = m.input("k", np.array([[3, -4, 5], [0, 7, 2]], np.int64), ["batch", 3])
    p = m.op("Abs", x)
    for kind in "Relu Sigmoid Tanh Exp Neg Abs Floor Ceil Round Sign Sin Cos Erf Softplus Softsign Elu Selu LeakyRelu HardSigmoid Identity".split():
        m.output(m.op(kind, x))
    for kind in "Sqrt Log Reciprocal".split():
        m.output(m.op(kind, m.op("Add", p, m.weight(np.float32(0.2)))))
    if opset >= 14: m.output(m.op("HardSwish", x))
    if opset >= 20: m.output(m.op("Gelu", x), m.op("Gelu", x, approximate="tanh"))
    if opset >= 18: m.output(m.op("Mish", x))
    for kind in "Add Sub Mul Div Max Min".split():
        m.output(m.op(kind, x, y), m.op(kind, m.weight(np.float32(1.5)), x), m.op(kind, x, m.weight(m.normal(1, 4) + 2)))
    m.output(m.op("Pow", y, m.weight(np.float32(1.5))), m.op("Pow", x, m.weight(np.float32(2))), m.op("Sum", x, y, x), m.op("Mean", x, y))
    m.output(m.op("PRelu", x, m.weight(m.normal(4))), m.op("PRelu", x, m.weight(m.normal(1))), m.op("PRelu", x, m.weight(m.normal(1, 1, 4))))
    m.output(m.op("Clip", x, m.weight(np.float32(-0.3)), m.weight(np.float32(0.2))), m.op("Clip", x, "", m.weight(np.float32(0.1))))
    m.output(m.op("Add", k, k), m.op("Mul", k, m.weight(np.int64(3))), m.op("Mod", k, m.weight(np.int64(3))), m.op("Cast", k, to=T.FLOAT))
    compared = [m.op(kind, x, y) for kind in "Greater Less GreaterOrEqual LessOrEqual".split()] + [m.op("Equal", k, m.weight(np.int64(7)))]
    m.output(*compared, m.op("And", compared[0], compared[1]), m.op("Or", compared[0], compared[1]), m.op("Not", compared[0]),
             m.op("Xor", compared[0], compared[3]))
    m.output(m.op("Where", compared[0], x, y), m.op("Where", compared[0], x, m.weight(np.float32(-9))), m.op("Cast", x, to=T.INT64), m.op("Cast", compared[0], to=T.FLOAT))
    m.output(m.op("Dropout", x))
    m.run()


def shapes(opset):
    m = Model("shapes", opset)
    x = m.input("x", m.normal(2, 5, 12), ["batch", "time", 12])
    shape = m.op("Shape", x)
    batch, time = (m.op("Gather", shape, m.weight(np.int64(i)), axis=0) for i in (0, 1))
    one = lambda v: m.op("Unsqueeze", v, m.ints(0))
    heads = m.op("Reshape", x, m.op("Concat", one(batch), one(time), m.ints(3), m.ints(4), axis=0))
    turned = m.op("Transpose", heads, perm=[0, 2, 1, 3])
    back = m.op("Reshape", m.op("Transpose", turned, perm=[0, 2, 1, 3]), m.op("Concat", one(batch), m.ints(-1), m.ints(12), axis=0))
    m.output(turned, back, m.op("Reshape", x, m.ints(0, -1, 6)), m.op("Reshape", x, m.op("Concat", one(m.op("Mul", batch, time)), m.ints(12), axis=0)))
    m.output(m.op("Flatten", x, axis=1), m.op("Flatten", x, axis=2), m.op("Unsqueeze", x, m.ints(0, -1)), m.op("Squeeze", m.op("Unsqueeze", x, m.ints(1)), m.ints(1)))
    table = m.weight(np.arange(40, dtype=np.int64).reshape(1, 40))
    m.output(m.op("Slice", table, m.ints(0), one(time), m.ints(1)), m.op("Slice", m.weight(m.normal(20, 3)), m.ints(0), one(time), m.ints(0)))
    m.output(m.op("Slice", x, m.ints(1), m.ints(-1), m.ints(2)), m.op("Slice", x, m.ints(-1), m.ints(-2**62), m.ints(2), m.ints(-2)), m.op("Slice", x, m.ints(0, 2), m.ints(3, 9999), m.ints(1, 2)))
    m.output(m.op("Slice", x, m.ints(10), m.ints(2), m.ints(-1), m.ints(-3)), m.op("Slice", x, m.ints(1, 1), m.ints(2**63 - 1, 5), m.ints(1, 2), m.ints(2, 2)))
    m.output(m.op("Concat", x, x, axis=1), m.op("Concat", x, m.op("Neg", x), axis=-1), m.op("Split", x, m.ints(5, 4, 3), outputs=3, axis=2))
    m.output(m.op("Split", x, outputs=2, axis=2, **({"num_outputs": 2} if opset >= 18 else {})))
    m.output(m.op("Expand", m.op("Slice", x, m.ints(0), m.ints(1), m.ints(2)), m.op("Concat", one(batch), one(time), m.ints(7), axis=0)), m.op("Expand", x, m.ints(3, 1, 1, 1)))
    m.output(m.op("Tile", x, m.ints(1, 2, 3)), m.op("Pad", x, m.ints(0, 1, 2, 0, 3, 0)), m.op("Pad", x, m.ints(0, 2, 0, 0, 1, 3), mode="reflect"))
    m.output(m.op("Pad", x, m.ints(0, 0, 1, 0, 2, 0), mode="edge"), m.op("Pad", x, m.ints(0, -1, 0, 0, 0, -2), m.weight(np.float32(7))))
    if opset >= 18: m.output(m.op("Pad", x, m.ints(2, 1), "", m.ints(-1)))
    if opset >= 19: m.output(m.op("Pad", x, m.ints(0, 2, 0, 0, 1, 0), mode="wrap"))
    i = m.input("i", np.array([[3, 0, 2], [1, 4, 4]], np.int64), ["batch", 3])
    m.output(m.op("Gather", m.weight(m.normal(6, 5), "table.weight"), i), m.op("Gather", x, m.weight(np.int64(-1)), axis=2), m.op("Gather", x, m.ints(0, -1, 2), axis=2))
    m.output(m.op("Gather", x, m.op("Slice", i, m.ints(0), m.ints(1), m.ints(0)), axis=1), m.op("GatherElements", x, m.op("Unsqueeze", i, m.ints(2)), axis=1))
    m.output(m.op("ConstantOfShape", m.op("Concat", one(batch), m.ints(3), axis=0), value=h.make_tensor("v", T.FLOAT, [1], [2.5])))
    m.output(m.op("Range", m.weight(np.int64(2)), m.op("Add", time, m.weight(np.int64(2))), m.weight(np.int64(1))), m.op("Transpose", x))
    half = m.op("Div", m.op("Sub", time, m.weight(np.int64(1))), m.weight(np.int64(2)))
    m.output(m.op("ConstantOfShape", one(half)))
    branch = lambda name, kind: h.make_graph([h.make_node(kind, [x], [name])], name, [], [h.make_tensor_value_info(name, T.FLOAT, None)])
    m.output(m.op("If", m.op("Equal", m.op("Size", m.op("Shape", x)), m.weight(np.int64(3))), then_branch=branch("then", "Tanh"), else_branch=branch("else", "Neg")))
    image = m.input("image", m.normal(2, 8, 2, 3), ["batch", 8, "height", "width"])
    m.output(m.op("DepthToSpace", image, blocksize=2), m.op("DepthToSpace", image, blocksize=2, mode="CRD"))
    m.run()


def products(opset):
    m = Model("products", opset)
    x = m.input("x", m.normal(2, 7, 6), ["batch", "time", 6])
    image = m.input("image", m.normal(2, 4, 9, 8), ["batch", 4, "height", 8])
    wave = m.input("wave", m.normal(2, 4, 13), ["batch", 4, "samples"])
    row = m.op("Slice", m.op("Reshape", x, m.ints(-1, 6)), m.ints(0), m.ints(5), m.ints(0))
    y = m.op("MatMul", x, m.weight(m.normal(6, 5)))
    m.output(m.op("Add", y, m.weight(m.normal(5))), m.op("Add", m.weight(m.normal(5)), m.op("MatMul", x, m.weight(m.normal(6, 5)))))
    m.output(m.op("MatMul", x, m.op("Transpose", x, perm=[0, 2, 1])), m.op("MatMul", m.weight(m.normal(3, 6)), m.op("Transpose", x, perm=[0, 2, 1])), m.op("MatMul", x, m.weight(m.normal(6))))
    m.output(m.op("Gemm", row, m.weight(m.normal(4, 6)), m.weight(m.normal(4)), transB=1), m.op("Gemm", row, m.weight(m.normal(6, 4)), m.weight(m.normal(1, 4)), alpha=0.5, beta=2.0))
    m.output(m.op("Gemm", row, row, transA=1), m.op("Gemm", row, m.weight(m.normal(6, 4)), m.weight(m.normal(5, 1))), m.op("Einsum", x, x, equation="bti,bsi->bts"))
    for attributes in ({}, {"pads": [1, 1]}, {"pads": [3, 0]}, {"strides": [2], "pads": [1, 2]}, {"dilations": [2]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}):
        m.output(m.op("Conv", wave, m.weight(m.normal(5, 4, 3 if "auto_pad" not in attributes else 4)), m.weight(m.normal(5)), **attributes))
    m.output(m.op("Conv", wave, m.weight(m.normal(8, 1, 3), "depthwise.weight"), group=4), m.op("Conv", wave, m.weight(m.normal(6, 2, 3)), group=2))
    for attributes in ({}, {"pads": [1, 2, 1, 2]}, {"pads": [1, 0, 2, 1]}, {"strides": [2, 1], "dilations": [1, 2]}):
        m.output(m.op("Conv", image, m.weight(m.normal(5, 4, 3, 2)), m.weight(m.normal(5)), **attributes))
    for attributes in ({}, {"strides": [2], "pads": [1, 1]}, {"strides": [3], "output_padding": [1]}, {"pads": [1, 0]}, {"dilations": [2]}):
        m.output(m.op("ConvTranspose", wave, m.weight(m.normal(4, 5, 3)), m.weight(m.normal(5)), **attributes))
    m.output(m.op("ConvTranspose", image, m.weight(m.normal(4, 3, 3, 2)), strides=[2, 1], pads=[1, 0, 1, 0], group=2), m.op("ConvTranspose", image, m.weight(m.normal(4, 3, 1, 3)), m.weight(m.normal(3)), strides=[1, 2], pads=[0, 1, 0, 1]))
    m.output(m.op("MaxPool", wave, kernel_shape=[3]), m.op("MaxPool", wave, kernel_shape=[3], strides=[2], pads=[1, 1]), m.op("MaxPool", image, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1]))
    m.output(m.op("AveragePool", wave, kernel_shape=[3], strides=[2]), m.op("AveragePool", image, kernel_shape=[2, 2], strides=[2, 2]), m.op("AveragePool", image, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1], count_include_pad=1))
    m.output(m.op("GlobalAveragePool", image), m.op("GlobalMaxPool", image))
    m.output(m.op("Resize", image, "", m.weight(np.array([1, 1, 2, 3], np.float32)), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
    m.output(m.op("Resize", wave, "", m.weight(np.array([1, 1, 2], np.float32)), mode="linear"), m.op("Resize", wave, "", m.weight(np.array([1, 1, 3], np.float32)), mode="nearest"))
    m.run()


def norms(opset):
    m = Model("norms", opset)
    x = m.input("x", m.normal(2, 6, 8), ["batch", 6, 8])
    image = m.input("image", m.normal(2, 6, 3, 4), ["batch", 6, "height", 4])
    vector = lambda n: m.weight(m.normal(n) + 1)
    m.output(m.op("BatchNormalization", x, vector(6), vector(6), vector(6), m.weight(np.abs(m.normal(6)) + 0.5)), m.op("BatchNormalization", image, vector(6), vector(6), vector(6), m.weight(np.abs(m.normal(6)) + 0.5), epsilon=1e-3))
    m.output(m.op("InstanceNormalization", image, vector(6), vector(6)), m.op("Softmax", x), m.op("Softmax", x, axis=1), m.op("LogSoftmax", x, axis=-1), m.op("LpNormalization", x, axis=1))
    if opset >= 17:
        m.output(m.op("LayerNormalization", x, vector(8), vector(8)), m.op("LayerNormalization", x, m.weight(m.normal(6, 8)), axis=1, epsilon=1e-3))
    if opset == 18: m.output(m.op("GroupNormalization", image, vector(2), vector(2), num_groups=2))
    if opset >= 21: m.output(m.op("GroupNormalization", image, vector(6), vector(6), num_groups=3))
    mean = (lambda v: m.op("ReduceMean", v, m.ints(-1))) if opset >= 18 else (lambda v: m.op("ReduceMean", v, axes=[-1]))
    number = lambda v: m.weight(np.float32(v))
    less = m.op("Sub", x, mean(x))
    root = m.op("Sqrt", m.op("Add", mean(m.op("Pow", less, number(2))), number(1e-12)))
    m.named("layer_norm", m.op("Add", m.op("Mul", m.op("Div", less, root), vector(8)), vector(8)))
    m.named("gelu", m.op("Mul", m.op("Mul", x, m.op("Add", m.op("Erf", m.op("Div", x, number(np.sqrt(2)))), number(1))), number(0.5)))
    m.named("gelu_half_first", m.op("Mul", m.op("Mul", x, number(0.5)), m.op("Add", m.op("Erf", m.op("Mul", x, number(np.sqrt(0.5)))), number(1))))
    m.named("no_gelu", m.op("Mul", m.op("Mul", x, m.op("Add", m.op("Erf", m.op("Div", x, number(2))), number(1))), number(0.5)))
    m.run()


def recurrent(opset):
    m = Model("recurrent", opset)
    x = m.input("x", m.normal(5, 2, 3), ["time", "batch", 3])
    for kind, gates in ("LSTM", 4), ("GRU", 3), ("RNN", 1):
        for direction, d in ("forward", 1), ("reverse", 1), ("bidirectional", 2):
            extra = {"linear_before_reset": 1} if kind == "GRU" else {}
            w, r, b = m.normal(d, gates * 4, 3), m.normal(d, gates * 4, 4), m.normal(d, 2 * gates * 4)
            h0 = m.input(f"{kind.lower()}_{direction}_h", m.normal(d, 2, 4), [d, "batch", 4])
            states = [h0] + ([m.input(f"{kind.lower()}_{direction}_c", m.normal(d, 2, 4), [d, "batch", 4])] if kind == "LSTM" else [])
            outputs = 3 if kind == "LSTM" else 2
            m.output(m.op(kind, x, m.weight(w), m.weight(r), m.weight(b), "", *states, outputs=outputs, hidden_size=4, direction=direction, **extra))
            m.output(m.op(kind, x, m.weight(w), m.weight(r), outputs=outputs, hidden_size=4, direction=direction, **extra))
    m.output(m.op("LSTM", x, m.weight(m.normal(1, 16, 3)), m.weight(m.normal(1, 16, 4)), m.weight(m.normal(1, 32)), "", "", "", m.weight(m.normal(1, 12)), outputs=3, hidden_size=4))
    lengths = m.input("lengths", np.array([5, 3], np.int32), ["batch"])
    m.output(m.op("GRU", x, m.weight(m.normal(1, 12, 3)), m.weight(m.normal(1, 12, 4)), m.weight(m.normal(1, 24)), lengths, outputs=2, hidden_size=4, linear_before_reset=1))
    m.run()


def reductions(opset):
    m = Model("reductions", opset)
    x = m.input("x", m.normal(2, 5, 4), ["batch", "time", 4])
    p = m.op("Add", m.op("Abs", x), m.weight(np.float32(0.1)))
    for kind in "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare ReduceLogSum".split():
        source = p if kind == "ReduceLogSum" else x
        for axes, keep in ([1], 1), ([-1], 0), ([0, 2], 1), (None, 0):
            by_input = opset >= 18 or kind == "ReduceSum"
            inputs = [m.ints(*axes)] if axes and by_input else []
            m.output(m.op(kind, source, *inputs, keepdims=keep, **({"axes": axes} if axes and not by_input else {})))
    m.output(m.op("ReduceSum", x, keepdims=0, noop_with_empty_axes=1), m.op("ArgMax", x, axis=-1), m.op("ArgMin", x, axis=1, keepdims=0))
    m.output(m.op("CumSum", x, m.weight(np.int64(1))), m.op("CumSum", x, m.weight(np.int64(-1)), exclusive=1, reverse=1), m.op("TopK", x, m.ints(2), outputs=2), m.op("TopK", x, m.ints(2), outputs=2, axis=1, largest=0))
    m.run()


def gru(opset):
    """A frame in, a state carried by hand: what --state is for."""
    m = Model("gru", opset)
    x = m.input("x", m.normal(1, 6), [1, 6])
    state = m.input("h", m.normal(1, 1, 5), [1, 1, 5])
    y, last = m.op("GRU", m.op("Unsqueeze", x, m.ints(0)), m.weight(m.normal(1, 15, 6)), m.weight(m.normal(1, 15, 5)), m.weight(m.normal(1, 30)), "", state, outputs=2, hidden_size=5, linear_before_reset=1)
    m.named("y", m.op("Sigmoid", m.op("Squeeze", y, m.ints(0, 1))))
    m.named("hn", last)
    m.run()


def external():
    """Weights in a file of their own, beside the model."""
    w = np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)
    with open("external_17.bin", "wb") as out: out.write(b"elsewhere " + w.tobytes())
    t = onnx.TensorProto(name="w", data_type=T.FLOAT, dims=w.shape, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "external_17.bin"), ("offset", "10"), ("length", str(w.nbytes))): t.external_data.add(key=key, value=value)
    m = Model("external", 17)
    m.weights.append(t)
    m.output(m.op("MatMul", m.input("x", m.normal(3, 6), ["rows", 6]), "w"))
    m.run()


# ---- Models that must be refused: refused/NAME.onnx, what must be said in refused/NAME.txt ----

def refused(name, says, nodes, weights=(), dims=("n", 4), opset=17, inputs=True, outputs=("y",), edit=None, domains=()):
    x = [h.make_tensor_value_info("x", T.FLOAT, dims)] if inputs else []
    graph = h.make_graph(nodes, name, x, [h.make_tensor_value_info(o, T.FLOAT, None) for o in outputs], list(weights))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)] + [h.make_opsetid(d, 1) for d in domains], ir_version=8)
    if edit: edit(model)
    with open(f"refused/{name}.onnx", "wb") as out: out.write(model.SerializeToString())
    with open(f"refused/{name}.txt", "w") as out: out.write(says + "\n")


def tensor(name, dims, raw=b"", **external):
    t = onnx.TensorProto(name=name, data_type=T.FLOAT, dims=dims)
    if external:
        t.data_location = onnx.TensorProto.EXTERNAL
        for key, value in external.items(): t.external_data.add(key=key, value=str(value))
    else: t.raw_data = raw
    return t


def refusals():
    n = lambda kind, i, o, **a: h.make_node(kind, i, o, name=f"the_{kind.lower()}", **a)
    add = [n("Add", ["x", "w"], ["y"])]
    refused("unknown_op", "node 'the_nonzero' (NonZero): there is no operator here for it", [n("NonZero", ["x"], ["y"])])
    refused("two_at_once", "2 things are not covered", [n("NonZero", ["x"], ["y"]), n("Det", ["x"], ["z"])], outputs=("y", "z"))
    refused("domain", "node 'the_relu' (Relu): operators of 'com.example' are not covered", [n("Relu", ["x"], ["y"], domain="com.example")], domains=("com.example",))
    refused("opset_11", "the model is of opset 11; 13 to 21 are read", [n("Relu", ["x"], ["y"])], opset=11)
    refused("opset_22", "the model is of opset 22; 13 to 21 are read", [n("Relu", ["x"], ["y"])], opset=22)
    refused("cycle", "which nothing before it gives", [n("Add", ["x", "b"], ["a"]), n("Relu", ["a"], ["b"]), n("Neg", ["b"], ["y"])])
    refused("condition", "its condition is computed when the model runs", [n("ReduceMax", ["x"], ["m"], keepdims=0), n("Cast", ["m"], ["c"], to=T.BOOL), n("If", ["c"], ["y"],
            then_branch=h.make_graph([n("Neg", ["x"], ["t"])], "t", [], [h.make_tensor_value_info("t", T.FLOAT, None)]),
            else_branch=h.make_graph([n("Abs", ["x"], ["e"])], "e", [], [h.make_tensor_value_info("e", T.FLOAT, None)]))])
    refused("gru_before", "linear_before_reset: 0", [n("GRU", ["x", "w", "r"], ["y"], hidden_size=2)], dims=(5, 1, 3),
            weights=[nh.from_array(np.zeros((1, 6, 3), np.float32), "w"), nh.from_array(np.zeros((1, 6, 2), np.float32), "r")])
    refused("shape_at_run", "its shape is computed when the model runs", [n("Cast", ["x"], ["s"], to=T.INT64), n("Reshape", ["x", "s"], ["y"])], dims=(4,))
    refused("huge", "its data another number", add, weights=[tensor("w", [1 << 40])])
    refused("overflow", "its shape is impossible", add, weights=[tensor("w", [1 << 40, 1 << 40])])
    refused("empty_overflow", "its shape is impossible", add, weights=[tensor("w", [0, 1 << 40, 1 << 40])])
    refused("negative", "its shape is impossible", add, weights=[tensor("w", [-4])])
    refused("short", "its data another number", add, weights=[tensor("w", [4], b"1234")])
    refused("many_axes", "at most 8 are possible", add, weights=[tensor("w", [1] * 9, b"1234")])
    refused("outside", "which is no file in the model's folder", add, weights=[tensor("w", [4], location="../run", offset=0, length=16)])
    refused("absolute", "which is no file in the model's folder", add, weights=[tensor("w", [4], location="/etc/passwd")])
    refused("nowhere", "which is no file in the model's folder", add, weights=[tensor("w", [4], location="missing.bin")])
    refused("beyond", "does not hold the 4096 bytes", add, weights=[tensor("w", [1024], location="beyond.txt")])
    refused("offset", "does not hold the 16 bytes", add, weights=[tensor("w", [4], location="beyond.txt", offset=2**62)])
    refused("text", "elements of type 8", add, weights=[h.make_tensor("w", T.STRING, [1], [b"x"])])
    deep = h.make_graph([n("Neg", ["x"], ["d"])], "d", [], [h.make_tensor_value_info("d", T.FLOAT, None)])
    for _ in range(28):
        deep = h.make_graph([n("If", ["true"], ["d"], then_branch=deep, else_branch=h.make_graph([n("Neg", ["x"], ["d"])], "e", [], [h.make_tensor_value_info("d", T.FLOAT, None)]))],
                            "d", [], [h.make_tensor_value_info("d", T.FLOAT, None)])
    refused("deep", "nested too deep", list(deep.node) + [n("Neg", ["d"], ["y"])], weights=[nh.from_array(np.array(True), "true")])


if __name__ == "__main__":
    refusals()
    for opset in (13, 17, 18, 21):
        for make in (elementwise, shapes, products, norms, recurrent, reductions):
            if opset != 18 or make is norms: make(opset)
    gru(17)
    external()
