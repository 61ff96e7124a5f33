// SPDX-License-Identifier: Apache-2.0
// A drawing to walk about in. VIEWS[i].data says what the elements of template i stand for: data-n a node, data-f and data-t the ends of a
// line, data-g a box. Nothing is loaded from elsewhere.
"use strict";
const $ = id => document.getElementById(id), canvas = $("canvas"), panel = $("panel"), search = $("search"), found = $("found");
const html = (name, attributes, parent, text) => {
    const node = Object.assign(document.createElement(name), attributes);
    if (text !== undefined && text !== null) node.textContent = text;
    if (parent) parent.append(node);
    return node;
};
const bytes = b => { let u = 0; while (b >= 1024 && u < 4) b /= 1024, u++; return (u ? b.toFixed(1) : b) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][u]; };
const time = s => s >= 1 ? s.toFixed(2) + " s" : s >= 1e-3 ? (s * 1e3).toFixed(2) + " ms" : (s * 1e6).toFixed(1) + " µs";
const share = s => data.seconds > 0 ? (100 * s / data.seconds).toFixed(1) + "%" : "";
let view = -1, data, svg, byId, width, height, place = {x: 0, y: 0, scale: 1}, matches = [], match = -1, chosen = null, sorted = "seconds", down = true;

// ---- Where the reader looks
function apply() {
    const box = canvas.getBoundingClientRect();
    svg.setAttribute("viewBox", [place.x, place.y, box.width / place.scale, box.height / place.scale].map(v => v.toFixed(2)).join(" "));
}
function fit(whole) {
    const box = canvas.getBoundingClientRect();
    const scale = whole ? Math.min(box.width / width, box.height / height) : Math.min(1, box.width / width);
    place.scale = Math.max(scale, whole ? 0.02 : 0.45);
    place.x = (width - box.width / place.scale) / 2, place.y = whole ? (height - box.height / place.scale) / 2 : 0;
    apply();
}
function zoom(factor, at) {
    const box = canvas.getBoundingClientRect(), x = at ? at.x - box.left : box.width / 2, y = at ? at.y - box.top : box.height / 2;
    const next = Math.min(6, Math.max(0.02, place.scale * factor));
    place.x += x / place.scale - x / next, place.y += y / place.scale - y / next, place.scale = next;
    apply();
}
function pan(x, y) { place.x -= x / place.scale, place.y -= y / place.scale; apply(); }
const groupOf = id => svg.querySelector(`.n[data-n="${id}"]`) || svg.querySelector(`.p[data-n="${id}"]`);
function centre(id) {
    const group = groupOf(id), box = canvas.getBoundingClientRect();
    if (!group) return;
    const b = group.getBBox();
    place.scale = Math.max(place.scale, 0.8);
    place.x = b.x + b.width / 2 - box.width / place.scale / 2, place.y = b.y + b.height / 2 - box.height / place.scale / 2;
    apply();
}

// ---- Views: boxes open or closed
function showView(index, path) {
    if (index === view) return path !== undefined && choosePath(path);
    view = index, data = VIEWS[index].data, chosen = null;
    byId = new Map(data.nodes.map(n => [n.id, n]));
    canvas.replaceChildren(document.querySelector(`template[data-view="${index}"]`).content.firstElementChild.cloneNode(true));
    svg = canvas.firstElementChild, width = +svg.getAttribute("width"), height = +svg.getAttribute("height");
    svg.removeAttribute("width"), svg.removeAttribute("height"), svg.setAttribute("preserveAspectRatio", "xMinYMin slice");
    for (const group of svg.querySelectorAll(".n[data-n]")) {
        const node = byId.get(+group.dataset.n);
        group.setAttribute("tabindex", "0"), group.setAttribute("role", "button");
        group.setAttribute("aria-label", node.node + ", " + node.op);
    }
    for (const button of $("views").children) button.setAttribute("aria-pressed", +button.dataset.view === index);
    heat(data.seconds > 0);
    fit(false), overview(), find();
    if (path !== undefined) choosePath(path);
}
function choosePath(path) {
    const node = data.nodes.find(n => n.node === path && n.kind !== "entry" && n.kind !== "exit") || data.nodes.find(n => n.node.startsWith(path + "."));
    if (node) choose(node.id, true);
}
function heat(on) {
    svg.classList.toggle("heat", on);
    if ($("heat")) for (const button of $("heat").children) button.setAttribute("aria-pressed", (button.dataset.heat === "1") === on);
}

// ---- What is told beside it
function row(table, cells, numbers) {
    const line = html("tr", {}, table);
    cells.forEach((cell, i) => {
        const td = html("td", {className: numbers && i >= numbers ? "number" : ""}, line);
        if (cell instanceof Node) td.append(cell);
        else td.textContent = cell ?? "";
    });
    return line;
}
function link(text, id) {
    const button = html("button", {className: "link"}, null, text);
    button.onclick = () => choose(id, true);
    return button;
}
const entered = node => data.edges.filter(e => e[2] === node.id).map(e => ({port: e[3], from: origin(e[0], e[1])}));
function origin(id, port) {
    for (let i = 0; i < 256; i++) {
        const node = byId.get(id);
        if (node.kind !== "entry" && node.kind !== "exit") break;
        const edge = data.edges.find(e => e[2] === id);
        if (!edge) break;
        id = edge[0], port = edge[1];
    }
    return {node: byId.get(id), port};
}
function readers(id, seen = new Set()) {
    const out = [];
    for (const e of data.edges) {
        if (e[0] !== id || seen.has(e[2])) continue;
        seen.add(e[2]);
        const to = byId.get(e[2]);
        if (to.kind === "entry" || to.kind === "exit") out.push(...readers(to.id, seen));
        else out.push(to);
    }
    return out;
}
function tell(node) {
    panel.replaceChildren();
    const back = html("button", {className: "link soft"}, panel, "← all nodes");
    back.onclick = () => choose(null);
    html("h2", {style: "margin-top:8px"}, panel, node.node);
    html("p", {className: "soft"}, panel, node.op + (node.plugin ? `, from ${node.plugin}` : "") + (node.loss ? ", a loss" : ""));
    const op = data.operators[node.op];
    if (op && op.summary) html("p", {}, panel, op.summary);
    if (op && op.equation) html("pre", {}, panel, op.equation);
    if (op && op.reference) html("p", {className: "soft"}, panel, op.reference);
    if (node.doc) html("p", {}, panel, node.doc);
    const facts = html("table", {}, panel);
    if (node.line) {
        const code = html("code", {}, null, (node.file || data.file || "") + ":" + node.line);
        row(facts, ["in the file", code]);
    }
    if (node.seconds !== undefined) row(facts, ["time", time(node.seconds) + ", " + share(node.seconds)]);
    if (node.stream !== undefined) row(facts, ["stream", node.stream]);
    if (node.data) row(facts, ["fed by", node.data]);
    if (node.inside) row(facts, ["inside", node.inside + " nodes"]);
    if (node.numbers) row(facts, ["parameters", node.numbers.toLocaleString("en") + ", " + bytes(node.bytes)]);
    if (node.state_bytes) row(facts, ["streaming state", bytes(node.state_bytes)]);
    if (node.pair !== undefined) row(facts, ["other half", link(byId.get(node.pair).node, node.pair)]);
    if (!facts.children.length) facts.remove();
    if (node.kind === "box" && VIEWS.length > 1) {
        const open = html("button", {className: "link"}, panel, "open this box");
        open.onclick = () => openBox(node);
    }
    if (node.with) html("h3", {}, panel, "with"), html("pre", {}, panel, node.with);
    const ins = entered(node);
    if (ins.length) {
        html("h3", {}, panel, "inputs");
        const table = html("table", {}, panel);
        for (const {port, from} of ins) {
            const out = from.node.outputs[from.port] || {};
            row(table, [(node.inputs[port] || {}).name || "", link(from.node.node, from.node.id), [out.type, out.shape].filter(Boolean).join(" ")]);
        }
    }
    if (node.outputs.length) {
        html("h3", {}, panel, "outputs");
        const table = html("table", {}, panel);
        for (const out of node.outputs) row(table, [out.name || "", [out.type, out.shape].filter(Boolean).join(" ")]);
        const to = readers(node.id);
        if (to.length) {
            const p = html("p", {className: "soft"}, panel, "read by ");
            to.slice(0, 30).forEach((n, i) => { if (i) p.append(", "); p.append(link(n.node, n.id)); });
        }
    }
    if (node.parameters) {
        html("h3", {}, panel, "parameters");
        const table = html("table", {}, panel);
        for (const p of node.parameters)
            row(table, [p.name, `${p.type} ${p.shape}`, bytes(p.bytes) + (p.shared ? ", is " + p.value : "") + ("optimizer" in p ? ", " + (p.optimizer || "frozen") : "")]);
    }
}
function overview() {
    panel.replaceChildren();
    if (data.doc) html("p", {}, panel, data.doc);
    const listed = data.nodes.filter(n => n.kind === "operator" || n.kind === "box" || n.kind === "input" || n.kind === "output");
    const timed = data.seconds > 0, keys = timed ? [["node", "node"], ["op", "operator"], ["seconds", "time"]] : [["node", "node"], ["op", "operator"], ["numbers", "parameters"]];
    if (!keys.some(k => k[0] === sorted)) sorted = keys[2][0], down = true;
    const table = html("table", {}, panel), head = html("tr", {}, table);
    keys.forEach(([key, name], i) => {
        const th = html("th", {className: i === 2 ? "number" : ""}, head), button = html("button", {}, th, name + (sorted === key ? (down ? " ↓" : " ↑") : ""));
        if (sorted === key) th.setAttribute("aria-sort", down ? "descending" : "ascending");
        button.onclick = () => { down = sorted === key ? !down : i === 2; sorted = key; overview(); };
    });
    const value = n => n[sorted] ?? (typeof n.node === "string" && sorted !== "node" && sorted !== "op" ? -1 : "");
    listed.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.id - b.id) * (down ? -1 : 1));
    for (const n of listed.slice(0, 1000)) {
        const last = html("span", {}, null, timed ? (n.seconds === undefined ? "" : time(n.seconds) + " · " + share(n.seconds)) : n.numbers ? n.numbers.toLocaleString("en") : "");
        if (timed && n.seconds) html("i", {className: "bar", style: `width:${Math.max(1, 100 * n.seconds / data.seconds).toFixed(1)}%`}, last);
        row(table, [link(n.node, n.id), n.op, last], 2);
    }
    if (listed.length > 1000) html("p", {className: "soft"}, panel, `and ${listed.length - 1000} more: the search finds them`);
}
function choose(id, move) {
    for (const old of svg.querySelectorAll(".chosen, .near")) old.classList.remove("chosen", "near");
    chosen = id;
    if (id === null) return overview();
    const node = byId.get(id), group = groupOf(id);
    if (group) group.classList.add("chosen");
    for (const line of svg.querySelectorAll(".e"))
        if (+line.dataset.f === id || line.dataset.t.split(" ").includes(String(id))) line.classList.add("near");
    tell(node);
    panel.parentElement.scrollTop = 0;
    if (move) centre(id);
}
function openBox(node) {
    for (let i = view + 1; i < VIEWS.length; i++)
        if (VIEWS[i].data.nodes.some(n => n.node.startsWith(node.node + ".") && n.kind !== "box")) return showView(i, node.node);
}

// ---- Search: names, operators, shapes, attributes
function find() {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    for (const old of svg.querySelectorAll(".match")) old.classList.remove("match");
    svg.classList.toggle("searching", words.length > 0);
    matches = words.length === 0 ? [] : data.nodes.filter(n => n.kind !== "entry" && n.kind !== "exit" && words.every(w =>
        [n.node, n.op, n.plugin, n.with, ...n.outputs.map(o => (o.type || "") + " " + (o.shape || ""))].some(t => t && t.toLowerCase().includes(w))));
    for (const n of matches) { const group = groupOf(n.id); if (group) group.classList.add("match"); }
    match = -1;
    found.textContent = words.length ? matches.length + " found" : "";
}
function next(step) {
    if (!matches.length) return;
    match = (match + step + matches.length) % matches.length;
    found.textContent = `${match + 1} of ${matches.length}`;
    choose(matches[match].id, true);
}
search.oninput = () => { find(); if (matches.length) centre(matches[0].id); };
search.onkeydown = e => {
    if (e.key === "Enter") e.preventDefault(), next(e.shiftKey ? -1 : 1);
    if (e.key === "Escape") search.value = "", find(), search.blur();
};

// ---- Mouse, fingers, keys
const fingers = new Map();
let moved = 0;
canvas.onwheel = e => {
    e.preventDefault();
    const unit = e.deltaMode === 1 ? 16 : 1;
    if (e.shiftKey) pan(-(e.deltaX || e.deltaY) * unit, 0);
    else zoom(Math.exp(-e.deltaY * unit * (e.ctrlKey ? 0.01 : 0.0016)), {x: e.clientX, y: e.clientY});
};
canvas.onpointerdown = e => {
    fingers.set(e.pointerId, {x: e.clientX, y: e.clientY});
    if (fingers.size === 1) moved = 0;
};
canvas.onpointermove = e => {
    const was = fingers.get(e.pointerId);
    if (!was) return;
    const now = {x: e.clientX, y: e.clientY};
    if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== e.pointerId)[1], far = p => Math.hypot(p.x - other.x, p.y - other.y) || 1;
        zoom(far(now) / far(was), {x: (now.x + other.x) / 2, y: (now.y + other.y) / 2});
        moved = 99;
    } else {
        moved += Math.abs(now.x - was.x) + Math.abs(now.y - was.y);
        if (moved > 4) canvas.classList.add("moving"), canvas.setPointerCapture(e.pointerId), pan(now.x - was.x, now.y - was.y);
    }
    fingers.set(e.pointerId, now);
};
canvas.onpointerup = canvas.onpointercancel = e => { fingers.delete(e.pointerId); canvas.classList.remove("moving"); };
canvas.onclick = e => {
    if (moved > 4) return;
    const node = e.target.closest(".n[data-n]"), tag = e.target.closest(".tg"), line = e.target.closest(".e");
    if (node) choose(+node.dataset.n);
    else if (tag) choose(+tag.dataset.f, true);
    else if (line) choose(origin(+line.dataset.f, 0).node.id);
    else choose(null);
};
canvas.ondblclick = e => {
    const node = e.target.closest(".n[data-n]"), info = node && byId.get(+node.dataset.n);
    if (info && info.kind === "box") openBox(info);
};
document.onkeydown = e => {
    if (e.target === search || e.ctrlKey || e.metaKey || e.altKey) return;
    const node = e.target.closest && e.target.closest(".n[data-n]");
    if (node && (e.key === "Enter" || e.key === " ")) return e.preventDefault(), choose(+node.dataset.n);
    const step = 60, keys = {
        "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": () => fit(true), "1": () => fit(false), "/": () => search.focus(),
        ArrowLeft: () => pan(step, 0), ArrowRight: () => pan(-step, 0), ArrowUp: () => pan(0, step), ArrowDown: () => pan(0, -step),
        Escape: () => choose(null), n: () => next(1), N: () => next(-1),
    };
    if (keys[e.key] && !(panel.contains(e.target) && e.key.startsWith("Arrow"))) e.preventDefault(), keys[e.key]();
};
canvas.addEventListener("focusin", e => { // reached by Tab: bring it into sight
    const node = e.target.closest(".n[data-n]");
    if (node && node.matches(":focus-visible")) centre(+node.dataset.n);
});
addEventListener("resize", () => apply());

VIEWS.forEach((v, i) => {
    const button = html("button", {}, $("views"), v.name);
    button.dataset.view = i, button.onclick = () => showView(i);
});
if (VIEWS.length < 2) $("views").hidden = true;
$("fit").onclick = () => fit(true), $("in").onclick = () => zoom(1.25), $("out").onclick = () => zoom(0.8);
if ($("heat")) for (const button of $("heat").children) button.onclick = () => heat(button.dataset.heat === "1");
showView(FIRST);
