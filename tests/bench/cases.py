# SPDX-License-Identifier: Apache-2.0
"""The workloads. A function here makes one Case from a Bench, which has libflow and whichever peers are installed."""
import ctypes, io, json, os, subprocess

import numpy as np

from libflow import Library
from peers import Case, attempt

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Bench:
    def __init__(self, build, threads, peers, compile):
        self.build, self.threads, self.peers, self.compile = build, threads, peers, compile
        self.flow = Library(os.path.join(build, "libflow.so"), os.path.join(build, "plugins"), threads)
        self.torch = attempt(lambda: __import__("torch")) if "torch" in peers else ImportError("not asked for")
        if not isinstance(self.torch, Exception):
            self.torch.set_num_threads(threads)
            self.torch.manual_seed(1)
            self.torch.set_grad_enabled(False)

    def need_torch(self):
        if isinstance(self.torch, Exception): raise self.torch
        return self.torch

    def flow_run(self, text, params, inputs, output=0):
        """A candidate on libflow."""
        session = self.flow.graph(text, params).session()
        for name, value in inputs.items(): session.input(name, value)
        def run():
            session.run()
            return session.output(output)
        run()
        quick = session.run
        first = [run()]
        def candidate():  # the first call hands the result over to be compared
            if not first: return quick()
            quick()
            return first.pop().copy()
        return candidate

    def onnx_run(self, model, feed):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = self.threads, 1, 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, feed)[0]

    def openvino_run(self, model, feed):
        import openvino as ov
        core = ov.Core()
        compiled = core.compile_model(core.read_model(model=model, weights=b""), "CPU", {
            "INFERENCE_NUM_THREADS": self.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
        request = compiled.create_infer_request()
        return lambda: list(request.infer(feed).values())[0]

    def exported(self, module, inputs):
        torch = self.need_torch()
        flat = [y for x in inputs for y in (x if isinstance(x, tuple) else (x,))]
        out, names = io.BytesIO(), [f"x{i}" for i in range(len(flat))]
        torch.onnx.export(module, tuple(inputs), out, opset_version=17, dynamo=False, input_names=names)
        import onnx
        kept = {i.name for i in onnx.load_from_string(out.getvalue()).graph.input}
        return out.getvalue(), {f"x{i}": x.numpy() for i, x in enumerate(flat) if f"x{i}" in kept}

    def of_module(self, module, inputs, eager=None, jit=True):
        """Every peer on one torch module; inputs are tensors."""
        torch = self.need_torch()
        module = module.eval()
        c = {"torch": eager or (lambda: module(*inputs))}
        if jit:
            c["torch.jit"] = attempt(lambda: (lambda f: lambda: f(*inputs))(torch.jit.optimize_for_inference(torch.jit.trace(module, inputs))))
        if self.compile: c["torch.compile"] = attempt(lambda: (lambda f: lambda: f(*inputs))(torch.compile(module)))
        model = attempt(lambda: self.exported(module, inputs))
        for name, make in (("onnxruntime", self.onnx_run), ("openvino", self.openvino_run)):
            if name in self.peers: c[name] = model if isinstance(model, Exception) else attempt(lambda: make(*model))
        return c


# ---- What a runtime costs where the work is tiny ----------------------------------------------------------------------

OPS = 100


def chain_graph(kind, plugins=0):
    rows = []
    for i in range(OPS):
        x = f"t{i - 1}" if i else "x"
        if i >= OPS - plugins: op = f"{{op: softsign{i - OPS + plugins}, in: {x}}}"
        elif kind == "linear": op = f"{{op: matmul, in: [{x}, w]}}"
        elif i % 4 == 2: op = f"{{op: sin, in: {x}}}"
        else: op = f"{{op: {('add', 'mul', '', 'sub')[i % 4]}, in: [{x}, c]}}"
        rows.append(f"  t{i}: {op}")
    c = "  c: {op: parameter, with: {shape: [64]}, init: {weight: constant(0.01)}}\n" if kind != "linear" else ""
    if kind == "linear": c = "  w: {op: parameter, with: {shape: [64, 64]}}\n"
    return "flow: 1\nname: chain\ninputs: {x: {dtype: f32, shape: [1, 64]}}\nnodes:\n" + c + "\n".join(rows) + f"\noutputs: {{y: t{OPS - 1}}}\n"


def chain_onnx(kind):
    from onnx import TensorProto, helper, numpy_helper
    constants = [numpy_helper.from_array(np.full(64, 0.01, np.float32), "c"), numpy_helper.from_array(np.eye(64, dtype=np.float32) * 0.9, "w")]
    nodes, x = [], "x"
    for i in range(OPS):
        op = "MatMul" if kind == "linear" else ("Add", "Mul", "Sin", "Sub")[i % 4]
        nodes.append(helper.make_node(op, [x] + ([] if op == "Sin" else ["w" if kind == "linear" else "c"]), [f"t{i}"]))
        x = f"t{i}"
    port = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 64])
    graph = helper.make_graph(nodes, "g", [port("x")], [port(x)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def chain(b, kind):
    torch = b.need_torch()
    x, c, w = torch.randn(1, 64), torch.full((64,), 0.01), torch.eye(64) * 0.9
    def f(x):
        for i in range(OPS):
            x = x @ w if kind == "linear" else x + c if i % 4 == 0 else x * c if i % 4 == 1 else torch.sin(x) if i % 4 == 2 else x - c
        return x
    params = {"w.weight": w} if kind == "linear" else {}
    candidates = {"torch": lambda: f(x), "torch.jit": attempt(lambda: (lambda g: lambda: g(x))(torch.jit.trace(f, x)))}
    if b.compile: candidates["torch.compile (fuses)"] = attempt(lambda: (lambda g: lambda: g(x))(torch.compile(f)))
    if "onnxruntime" in b.peers: candidates["onnxruntime"] = attempt(lambda: b.onnx_run(chain_onnx(kind), {"x": x.numpy()}))
    if "openvino" in b.peers: candidates["openvino"] = attempt(lambda: b.openvino_run(chain_onnx(kind), {"x": x.numpy()}))
    candidates["libflow"] = attempt(lambda: b.flow_run(chain_graph(kind), params, {"x": x}))
    if kind == "linear":
        return Case("100 products 64x64 by one row", candidates, most=150e-9, flops=OPS * 2 * 64 * 64, items=OPS, unit="an op")
    return Case("chain of 100 elementwise ops, 64 floats", candidates, most=25e-9, items=OPS, unit="an op")


def ten_plugins(b):
    """A folder with the template plugin ten times, each with an operator of its own name."""
    folder = os.path.join(b.build, "bench-plugins")
    os.makedirs(folder, exist_ok=True)
    text = open(os.path.join(ROOT, "plugins", "template", "template.c")).read()
    for i in range(10):
        target, source = os.path.join(folder, f"softsign{i}.so"), os.path.join(folder, f"softsign{i}.c")
        if os.path.exists(target): continue
        open(source, "w").write(text.replace('.name = "softsign"', f'.name = "softsign{i}"').replace('.name = "template"', f'.name = "template{i}"'))
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-I", os.path.join(ROOT, "runtime", "include"),
                        source, "-o", target], check=True)
    return folder


def start(b):
    folder = ten_plugins(b)
    path = os.path.join(folder, "chain.yaml")
    open(path, "w").write(chain_graph("elementwise", plugins=10))
    command = [os.path.join(b.build, "flowrun"), "run", path, "--plugin-path", folder, "--threads", "1", "--quiet",
               "--input", "x=[" + ", ".join(["1"] * 64) + "]", "--output", "y=-"]
    runner, source = os.path.join(b.build, "bench-spawn"), os.path.join(ROOT, "tests", "bench", "probe", "spawn.c")
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", source, "-o", runner], check=True)
    wall, cpu, size = map(float, subprocess.run([runner, "40"] + command, check=True, capture_output=True, text=True).stdout.split())
    return Case(f"process start to output: 100 nodes, 10 plugins; {size / 1024:.1f} MiB resident (goal 12), {cpu * 1e-3:.1f} ms of processor time",
                {}, fixed={"libflow": wall * 1e-6}, most=6e-3)


# ---- Transformers -----------------------------------------------------------------------------------------------------

ENCODER = """flow: 1
name: encoder
inputs: {x: {dtype: f32, shape: [B, T, 384]}}
graphs:
  block:
    inputs: {x: {dtype: f32, shape: [B, T, 384]}}
    nodes:
      mix: {op: attention, in: [x, x, x], with: {heads: 12, qkv_bias: true, out_bias: true}}
      sum1: {op: add, in: [x, mix]}
      n1: {op: layer_norm, in: sum1}
      up: {op: linear, in: n1, with: {units: 1536}}
      act: {op: gelu, in: up}
      down: {op: linear, in: act, with: {units: 384}}
      sum2: {op: add, in: [n1, down]}
      n2: {op: layer_norm, in: sum2}
    outputs: {y: n2}
nodes:
  body: {graph: block, in: x, repeat: 6}
outputs: {y: body}
"""


def encoder(b, batch, half=False):
    torch = b.need_torch()
    nn, d, heads, layers, t = torch.nn, 384, 12, 6, 128
    class Block(nn.Module):  # BERT's: norms after the sums
        def __init__(self):
            super().__init__()
            self.qkv, self.o, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = self.qkv(x).reshape(n, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
            x = self.n1(x + self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)))
            return self.n2(x + self.down(nn.functional.gelu(self.up(x))))
    model, x = nn.Sequential(*[Block() for _ in range(layers)]), torch.randn(batch, t, d) * 0.1
    params = {}
    for i, block in enumerate(model):
        for j, name in enumerate("qkv"):
            params[f"body.{i}.mix.w{name}"] = block.qkv.weight[j * d:(j + 1) * d]
            params[f"body.{i}.mix.b{name}"] = block.qkv.bias[j * d:(j + 1) * d]
        params |= {f"body.{i}.mix.wo": block.o.weight, f"body.{i}.mix.bo": block.o.bias}
        for name in ("up", "down", "n1", "n2"):
            params |= {f"body.{i}.{name}.weight": getattr(block, name).weight, f"body.{i}.{name}.bias": getattr(block, name).bias}
    if half:
        def autocast():
            with torch.autocast("cpu", torch.bfloat16): return model(x).float()
        c = {"torch autocast": autocast}
        if b.compile:
            compiled = torch.compile(model)
            def fused():
                with torch.autocast("cpu", torch.bfloat16): return compiled(x).float()
            c["torch.compile autocast"] = fused
    else: c = b.of_module(model, (x,))
    c["libflow"] = attempt(lambda: b.flow_run(ENCODER + ("run: {precision: bf16}\n" if half else ""), params, {"x": x}))
    return Case(f"encoder 6x384 T128 B{batch}{' bf16 products' if half else ''}", c, goal=1.2 if half else 1.05, tolerance=5e-2 if half else 2e-3, flops=layers * batch * t * (24 * d * d + 4 * t * d), items=batch * t, unit="a token")


def gpt_graph(precision):
    return (f"flow: 1\nname: gpt\ninputs: {{tokens: {{dtype: i64, shape: [B, T]}}, target: {{dtype: i64, shape: [B, T]}}}}\n"
            "graphs:\n  block:\n    inputs: {x: {dtype: f32, shape: [B, T, 128]}}\n    nodes:\n"
            "      n1: {op: layer_norm, in: x}\n      mix: {op: attention, in: [n1, n1, n1], with: {heads: 4, causal: true, qkv_bias: true, out_bias: true}}\n"
            "      mixed: {op: add, in: [x, mix]}\n      n2: {op: layer_norm, in: mixed}\n      up: {op: linear, in: n2, with: {units: 512}}\n"
            "      act: {op: gelu, in: up}\n      down: {op: linear, in: act, with: {units: 128}}\n      y: {op: add, in: [mixed, down]}\n    outputs: {y: y}\n"
            "nodes:\n  tok: {op: embedding, in: tokens, with: {count: 65, units: 128}}\n  pos: {op: parameter, with: {shape: [256, 128]}}\n"
            "  h: {op: add, in: [tok, pos]}\n  body: {graph: block, in: h, repeat: 4}\n  norm: {op: layer_norm, in: body}\n"
            "  head: {op: linear, in: norm, with: {units: 65, bias: false}}\n  loss: {op: cross_entropy, in: {logits: head, target: target}}\n"
            "outputs: {loss: loss}\ntrain: {loss: loss, steps: 1000000, update: [{params: '*', optimizer: adamw, with: {lr: 0.001, weight_decay: 0.01}}]}\n"
            f"run: {{precision: {precision}}}\n")


def train_gpt(b, half):
    """A training step of a GPT-like character model: forward, backward, AdamW. 4 layers, width 128, 4 heads, 16 x 256 tokens, vocabulary 65."""
    torch = b.need_torch()
    nn, d, heads, layers, batch, t = torch.nn, 128, 4, 4, 16, 256
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.o, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        def forward(self, x):
            n, t, _ = x.shape
            q, k, v = self.qkv(self.n1(x)).reshape(n, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
            x = x + self.o(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, d))
            return x + self.down(nn.functional.gelu(self.up(self.n2(x))))
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos, self.blocks = nn.Embedding(65, d), nn.Embedding(t, d), nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 65, bias=False)
        def forward(self, x, y):
            h = self.blocks(self.tok(x) + self.pos.weight)
            return nn.functional.cross_entropy(self.head(self.norm(h)).flatten(0, 1), y.flatten())
    x, y = torch.randint(0, 65, (batch, t)), torch.randint(0, 65, (batch, t))
    first = Model()
    params = {"tok.weight": first.tok.weight, "pos.weight": first.pos.weight, "norm.weight": first.norm.weight, "norm.bias": first.norm.bias,
              "head.weight": first.head.weight}
    for i, block in enumerate(first.blocks):
        for j, name in enumerate("qkv"):
            params[f"body.{i}.mix.w{name}"] = block.qkv.weight[j * d:(j + 1) * d]
            params[f"body.{i}.mix.b{name}"] = block.qkv.bias[j * d:(j + 1) * d]
        params |= {f"body.{i}.mix.wo": block.o.weight, f"body.{i}.mix.bo": block.o.bias}
        for name in ("up", "down", "n1", "n2"):
            params |= {f"body.{i}.{name}.weight": getattr(block, name).weight, f"body.{i}.{name}.bias": getattr(block, name).bias}
    params = {k: v.detach().clone() for k, v in params.items()}
    def of_torch(fused, wrap=lambda m: m):
        model = Model()
        model.load_state_dict(first.state_dict())
        run, opt = wrap(model), torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.01, fused=fused)
        def step():
            with torch.enable_grad():
                opt.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=half): loss = run(x, y)
                loss.backward()
                opt.step()
            return loss
        return step
    c = {"torch": of_torch(False), "torch, fused AdamW": of_torch(True)}
    if b.compile: c["torch.compile"] = attempt(lambda: of_torch(True, torch.compile))
    def ours():
        trainer = b.flow.graph(gpt_graph("bf16" if half else "f32"), params).trainer({"tokens": x, "target": y})
        return lambda: np.float64(trainer.step())
    c["libflow"] = attempt(ours)
    tokens, weights = batch * t, layers * 12 * d * d + 65 * d
    flops = 3 * tokens * (2 * weights + layers * 2 * t * d)  # backward is twice forward; half of attention's square
    return Case(f"train GPT 4x128 T256 B16{' bf16 products' if half else ''}", c, goal=1.5 if half else 1.4, flops=flops, items=tokens, unit="a token",
                tolerance=1e-2 if half else 1e-4)


def attention_graph(causal):
    return (f"flow: 1\nname: attention\ninputs: {{q: {{dtype: f32, shape: [B, T, 512]}}, k: {{dtype: f32, shape: [B, S, 512]}}, v: {{dtype: f32, shape: [B, S, 512]}}}}\n"
            f"nodes: {{y: {{op: attention, in: [q, k, v], with: {{heads: 8, projections: false, causal: {str(causal).lower()}}}}}}}\noutputs: {{y: y}}\n")


def mha_onnx(t, s, causal):
    from onnx import TensorProto, helper
    node = helper.make_node("MultiHeadAttention", ["q", "k", "v"], ["o"], domain="com.microsoft", num_heads=8, unidirectional=int(causal))
    port = lambda name, rows: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, rows, 512])
    graph = helper.make_graph([node], "g", [port("q", t), port("k", s), port("v", s)], [port("o", t)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=9).SerializeToString()


def attention(b, t, s, causal):
    torch = b.need_torch()
    q, k, v = (torch.randn(1, 8, n, 64) for n in (t, s, s))
    rows = {n: x.transpose(1, 2).reshape(1, -1, 512).contiguous() for n, x in (("q", q), ("k", k), ("v", v))}
    sdpa = torch.nn.functional.scaled_dot_product_attention
    back = lambda y: y.transpose(1, 2).reshape(1, t, 512)
    c = {"torch sdpa": lambda: back(sdpa(q, k, v, is_causal=causal))}
    unfused = lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) * 0.125, -1) @ v
    if not causal: c["torch unfused"] = lambda: back(unfused(q, k, v))
    if not causal and b.compile: c["torch.compile"] = attempt(lambda: (lambda f: lambda: back(f(q, k, v)))(torch.compile(unfused)))
    if "onnxruntime" in b.peers: c["onnxruntime MHA"] = attempt(lambda: b.onnx_run(mha_onnx(t, s, causal), {n: x.numpy() for n, x in rows.items()}))
    c["libflow"] = attempt(lambda: b.flow_run(attention_graph(causal), {}, rows))
    if causal:
        return Case(f"attention prefill causal T{t} (8 heads of 64)", c, goal={512: 1.5, 2048: 1.3}.get(t, 1.25), flops=2 * t * t * 64 * 8)
    return Case(f"attention decode, cache {s}", c, goal=1.7, flops=4 * s * 512, bytes=2 * s * 512 * 4)


# ---- Recurrences ------------------------------------------------------------------------------------------------------

def lstm_params(m):
    return {f"y.{n}": getattr(m, n + "_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}


def lstm(b, h, batch=16, t=1024):
    torch = b.need_torch()
    m, x = torch.nn.LSTM(h, h, batch_first=True).eval(), torch.randn(batch, t, h)
    c = b.of_module(m, (x,), eager=lambda: m(x)[0], jit=False)
    text = f"flow: 1\nname: lstm\ninputs: {{x: {{dtype: f32, shape: [B, T, {h}]}}}}\nnodes: {{y: {{op: lstm, in: x, with: {{units: {h}}}}}}}\noutputs: {{y: y}}\n"
    c["libflow"] = attempt(lambda: b.flow_run(text, lstm_params(m), {"x": x}))
    return Case(f"lstm forward B{batch} T{t} H{h}", c, goal=1.2 if h == 64 else 1.08, flops=16 * batch * t * h * h, items=batch * t, unit="a step")


def lstm_step(b, h):
    torch = b.need_torch()
    m, cell = torch.nn.LSTM(h, h).eval(), torch.nn.LSTMCell(h, h).eval()
    for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"): getattr(cell, n).copy_(getattr(m, n + "_l0"))
    x, s = torch.randn(1, 1, h), (torch.randn(1, 1, h) * 0.1, torch.randn(1, 1, h) * 0.1)
    def of_cell():
        with torch.inference_mode(): return cell(x[0], (s[0][0], s[1][0]))[0]
    c = b.of_module(m, (x, s), eager=lambda: m(x, s)[0], jit=False)
    c["torch LSTMCell"] = of_cell
    text = (f"flow: 1\nname: step\ninputs: {{x: {{dtype: f32, shape: [B, T, {h}]}}, h: {{dtype: f32, shape: [B, {h}]}}, c: {{dtype: f32, shape: [B, {h}]}}}}\n"
            f"nodes: {{y: {{op: lstm, in: {{x: x, h: h, c: c}}, with: {{units: {h}}}}}}}\noutputs: {{y: y, h: y.h, c: y.c}}\n")
    c["libflow"] = attempt(lambda: b.flow_run(text, lstm_params(m), {"x": x, "h": s[0][0], "c": s[1][0]}))
    return Case(f"lstm one step B1 H{h}", c, goal=3 if h == 128 else 1.7, most=6.5e-6 if h == 128 else 26e-6, flops=16 * h * h, bytes=32 * h * h)


# ---- Speech -----------------------------------------------------------------------------------------------------------

def taps_module(torch, d, left, right, dilation=1):
    class Taps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pad, self.conv = (left * dilation, right * dilation), torch.nn.Conv1d(d, d, left + right + 1, groups=d, dilation=dilation, bias=False)
        def forward(self, x): return x + self.conv(torch.nn.functional.pad(x, self.pad))
    return Taps()


def fsmn(b, d, t, dilation=1):
    torch = b.need_torch()
    m, x = taps_module(torch, d, 20, 20, dilation).eval(), torch.randn(1, d, t)
    rows = x.transpose(1, 2).contiguous()  # ours has the channels last; each has its own layout
    c = b.of_module(m, (x,))
    c = {n: f if isinstance(f, Exception) else (lambda f=f: np.asarray(f()).transpose(0, 2, 1)) for n, f in c.items()}
    text = (f"flow: 1\nname: taps\ninputs: {{x: {{dtype: f32, shape: [B, T, {d}]}}}}\n"
            f"nodes: {{y: {{op: fsmn, in: x, with: {{left: 20, right: 20, dilation: {dilation}}}}}}}\noutputs: {{y: y}}\n")
    c["libflow"] = attempt(lambda: b.flow_run(text, {"y.weight": m.conv.weight[:, 0]}, {"x": rows}))
    return Case(f"fsmn taps 20+20 D{d} T{t}" + (f" dilated {dilation}" if dilation > 1 else ""), c, goal=2, flops=82 * d * t, bytes=8 * d * t)


def vad_graph():
    rows = ["a: {op: linear, in: x, with: {units: 140}}", "b: {op: linear, in: a, with: {units: 250}}", "h0: {op: relu, in: b}"]
    for i in range(4):
        rows += [f"p{i}: {{op: linear, in: h{i}, with: {{units: 128, bias: false}}}}", f"m{i}: {{op: fsmn, in: p{i}, with: {{left: 19}}}}",
                 f"w{i}: {{op: linear, in: m{i}, with: {{units: 250}}}}", f"h{i + 1}: {{op: relu, in: w{i}}}"]
    rows += ["c: {op: linear, in: h4, with: {units: 140}}", "d: {op: linear, in: c, with: {units: 248}}", "y: {op: softmax, in: d}"]
    return "flow: 1\nname: vad\ninputs: {x: {dtype: f32, shape: [B, T, 400]}}\nnodes:\n" + "".join(f"  {r}\n" for r in rows) + "outputs: {y: y}\n"


def vad(b, t):
    torch = b.need_torch()
    nn = torch.nn
    class Vad(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(400, 140), nn.Linear(140, 250), nn.Linear(250, 140), nn.Linear(140, 248)
            self.p = nn.ModuleList(nn.Linear(250, 128, bias=False) for _ in range(4))
            self.m = nn.ModuleList(taps_module(torch, 128, 19, 0) for _ in range(4))
            self.w = nn.ModuleList(nn.Linear(128, 250) for _ in range(4))
        def forward(self, x):
            x = torch.relu(self.b(self.a(x)))
            for p, m, w in zip(self.p, self.m, self.w): x = torch.relu(w(m(p(x).transpose(1, 2)).transpose(1, 2)))
            return torch.softmax(self.d(self.c(x)), -1)
    m, x = Vad(), torch.randn(1, t, 400)
    params = {f"{n}.{k}": getattr(getattr(m, n), k) for n in "abcd" for k in ("weight", "bias")}
    for i in range(4):
        params |= {f"p{i}.weight": m.p[i].weight, f"m{i}.weight": m.m[i].conv.weight[:, 0], f"w{i}.weight": m.w[i].weight, f"w{i}.bias": m.w[i].bias}
    c = b.of_module(m, (x,))
    c["libflow"] = attempt(lambda: b.flow_run(vad_graph(), params, {"x": x}))
    w = 400 * 140 + 140 * 250 + 4 * (2 * 250 * 128 + 20 * 128) + 250 * 140 + 140 * 248
    return Case(f"FSMN-VAD network, {t} frames", c, goal=4 if t == 1 else 1.2, most=28e-6 if t == 1 else 0, flops=2 * w * t, bytes=4 * w if t == 1 else 0,
                items=t, unit="a frame")


def fbank(b):
    """10 s of 16 kHz sound. The peer is the same computation in torch's operators, mel filters made beforehand."""
    torch = b.need_torch()
    x = torch.randn(1, 160000) * 0.1
    mel = lambda f: 1127 * np.log(1 + f / 700)
    centres = np.linspace(mel(20), mel(8000), 82)
    step, at = centres[1] - centres[0], mel(np.arange(257) * 16000 / 512)
    up, down = (at[None] - centres[:80, None]) / step, (centres[2:, None] - at[None]) / step
    filters = torch.tensor(np.maximum(0, np.minimum(up, down)).T, dtype=torch.float32)
    filters[256] = 0
    window = torch.hamming_window(400, periodic=False)
    def peer():
        f = x.unfold(1, 400, 160) * 32768
        f = f - f.mean(-1, keepdim=True)
        f = (f - 0.97 * torch.cat((f[..., :1], f[..., :-1]), -1)) * window
        p = torch.fft.rfft(f, 512)
        return torch.log(torch.clamp((p.real.square() + p.imag.square()) @ filters, min=2.0 ** -23))
    text = "flow: 1\nname: fbank\ninputs: {x: {dtype: f32, shape: [B, S]}}\nnodes: {y: {op: fbank, in: x, with: {window: hamming}}}\noutputs: {y: y}\n"
    return Case("fbank, 10 s at 16 kHz", {"torch operators": peer, "libflow": attempt(lambda: b.flow_run(text, {}, {"x": x}))}, items=998, unit="a frame")


def live(b):
    """The whole graph of voice activity detection on pieces of 160 samples, as they come from a microphone."""
    path = os.path.join(ROOT, "graphs", "fsmn-vad", "fsmn-vad.yaml")
    session = b.flow.graph(open(path).read(), path=path).session("S")
    session.input("wave", np.random.default_rng(1).standard_normal((1, 160)).astype(np.float32) * 0.05)
    for _ in range(20): session.run()
    def second():
        for _ in range(100): session.run()
    return Case("FSMN-VAD live, pieces of 160 samples", {"libflow": second}, most=28e-6, items=100, unit="a frame in all")


def tensors_of(path):
    """Arrays of a safetensors file, f32 alone."""
    data = open(path, "rb").read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    return {name: np.frombuffer(data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]], np.float32).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__" and t["dtype"] == "F32"}


def plain_stories(b, folder, fast):
    """The same model as plain loops in C (probe/stories.c)."""
    target = os.path.join(b.build, f"bench-stories{'-fast' if fast else ''}.so")
    subprocess.run(["cc", "-O3", "-march=native", *(["-ffast-math"] if fast else []), "-shared", "-fPIC",
                    os.path.join(ROOT, "tests", "bench", "probe", "stories.c"), "-o", target, "-lm"], check=True)
    weights = tensors_of(os.path.join(folder, "weights.safetensors"))
    names = [f"body.{i}.{n}" for i in range(5) for n in ("mix.wq", "mix.wk", "mix.wv", "mix.wo", "gate.weight", "up.weight", "down.weight",
                                                         "norm1.weight", "norm2.weight")] + ["embed.weight", "norm.weight"]
    arrays = [np.ascontiguousarray(weights[n]) for n in names]
    pointers = (ctypes.c_void_p * len(arrays))(*[x.ctypes.data for x in arrays])
    words, tell = np.ones(257, np.int64), ctypes.CDLL(target).stories_tell
    run = lambda: tell(pointers, ctypes.c_void_p(words.ctypes.data), 257)
    run()
    wanted = json.load(open(os.path.join(folder, "greedy_tokens.json")))[:257]
    if words[:len(wanted)].tolist() != wanted: raise RuntimeError("the plain loops tell another story")
    run.arrays = arrays  # the pointers are into them
    return run


def stories(b):
    """256 tokens of the small language model, one at a time, keys and values kept."""
    folder = os.path.join(ROOT, "graphs", "stories260k")
    path = os.path.join(folder, "stories260k.yaml")
    session = b.flow.graph(open(path).read(), path=path).session("T")
    session.feedback("tokens", "next")
    token = np.ones((1, 1), np.int64)
    def story():
        session.library.lib.flow_session_finish(session.handle, None)
        session.reset()
        session.input("tokens", token)
        for _ in range(256): session.run()
    return Case("stories260k, 256 tokens", {"libflow": story, "plain C, -O3": attempt(lambda: plain_stories(b, folder, False)),
                                            "plain C, -ffast-math": attempt(lambda: plain_stories(b, folder, True))},
                goal=1.5, items=256, unit="a token")


def all_cases():
    yield "chain elementwise", lambda b: chain(b, "elementwise")
    yield "chain products linear", lambda b: chain(b, "linear")
    yield "process start", start
    for half in (False, True): yield f"train GPT{' bf16' if half else ''}", lambda b, half=half: train_gpt(b, half)
    for half in (False, True):
        for n in (1, 32): yield f"encoder B{n}{' bf16' if half else ''}", lambda b, n=n, half=half: encoder(b, n, half)
    for t in (512, 2048, 8192): yield f"attention prefill T{t}", lambda b, t=t: attention(b, t, t, True)
    yield "attention decode", lambda b: attention(b, 1, 4096, False)
    for h in (128, 256): yield f"lstm one step H{h}", lambda b, h=h: lstm_step(b, h)
    for h in (64, 256): yield f"lstm forward H{h}", lambda b, h=h: lstm(b, h)
    for d, t, s in ((128, 1000, 1), (512, 6000, 1), (512, 6000, 4)): yield f"fsmn taps D{d} T{t} dilation {s}", lambda b, d=d, t=t, s=s: fsmn(b, d, t, s)
    for t in (1, 100, 6000): yield f"vad network {t} frames", lambda b, t=t: vad(b, t)
    yield "fbank", fbank
    yield "vad live", live
    yield "stories260k", stories
