# SPDX-License-Identifier: Apache-2.0
"""The model of graphs/char-lm in PyTorch, with the same settings, data and number of steps: what its README compares with.
    python char_lm.py TEXT [--steps 800] [--threads 2] [--seed 1]"""
import argparse, math, time, torch, torch.nn as nn, torch.nn.functional as F

a = argparse.ArgumentParser()
a.add_argument("text"), a.add_argument("--steps", type=int, default=800), a.add_argument("--threads", type=int, default=2)
a.add_argument("--seed", type=int, default=1), a.add_argument("--compile", action="store_true")
a = a.parse_args()
torch.set_num_threads(a.threads), torch.manual_seed(a.seed)
T, D, H, L, B = 256, 128, 4, 4, 16
data = torch.tensor(list(open(a.text, "rb").read()))
windows = len(data) - T
train_end, valid = int(0.8997 * windows), data[int(0.9 * len(data)):]

inv = 10000.0 ** (-torch.arange(0, D // H, 2) / (D // H))
angle = torch.outer(torch.arange(T), inv)
cos, sin = torch.cat([angle.cos()] * 2, 1), torch.cat([angle.sin()] * 2, 1)


def turn(x):  # rotary embedding, pairs (i, i + width/2)
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.o, self.up, self.down = nn.Linear(D, 3 * D), nn.Linear(D, D), nn.Linear(D, 4 * D), nn.Linear(4 * D, D)
        self.n1, self.n2 = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.n1(x)).reshape(b, t, 3, H, d // H).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.o(y)
        return x + self.down(F.gelu(self.up(self.n2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(128, D), nn.LayerNorm(D), nn.Linear(D, 128, bias=False)
        self.blocks = nn.Sequential(*[Block() for _ in range(L)])
        nn.init.normal_(self.embed.weight, 0, 0.02), nn.init.normal_(self.head.weight, 0, 0.02)

    def forward(self, x, y):
        return F.cross_entropy(self.head(self.norm(self.blocks(self.embed(x)))).flatten(0, 1), y.flatten())


model = Model()
step = torch.compile(model) if a.compile else model
opt = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.1, fused=True)


def rate(t, warmup=100, final=0.1):
    if t < warmup: return (t + 1) / warmup
    return final + (1 - final) * (1 + math.cos(math.pi * (t - warmup) / (a.steps - warmup))) / 2


def validate():
    model.eval()
    rows = [valid[i:i + T + 1] for i in range(0, len(valid) - T - 1, T)]
    total = 0.0
    with torch.no_grad():
        for i in range(0, len(rows), B):
            w = torch.stack(rows[i:i + B])
            total += model(w[:, :-1], w[:, 1:]).item() * len(w)
    model.train()
    return total / len(rows)


start = time.time()
for t in range(a.steps):
    at = torch.randint(0, train_end, (B,))
    w = torch.stack([data[i:i + T + 1] for i in at])
    for g in opt.param_groups: g["lr"] = 0.003 * rate(t)
    opt.zero_grad(set_to_none=True)
    loss = step(w[:, :-1], w[:, 1:])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    if (t + 1) % 200 == 0 or t + 1 == a.steps:
        print(f"step {t + 1} loss {loss.item():.4f} valid {validate():.4f} {time.time() - start:.1f} s", flush=True)
