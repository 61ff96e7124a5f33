// SPDX-License-Identifier: Apache-2.0
// The curves of one run or several. `DATA.runs[i].series[k]` holds x (steps), t (seconds) and y of one line; lines with the same `chart`
// share a figure. Nothing is loaded from elsewhere; what is chosen outlives the page's own refreshing.
"use strict";
const NS = "http://www.w3.org/2000/svg", COLORS = 8, FACTOR = "learning rate factor";
const many = DATA.runs.length > 1;
const chosen = {axis: "x", log: {}, smooth: 0.4, off: {}};
try { Object.assign(chosen, JSON.parse(sessionStorage.getItem("flow" + location.pathname) || "{}")); } catch (e) { /* none kept */ }
const keep = () => { try { sessionStorage.setItem("flow" + location.pathname, JSON.stringify(chosen)); } catch (e) { /* not kept */ } };

const make = (name, attributes, parent) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.append(node);
    return node;
};
const html = (name, attributes, parent, text) => {
    const node = Object.assign(document.createElement(name), attributes);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
};
const show = v => v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(2) : String(+v.toPrecision(4));
const clock = s => {
    if (s < 60) return +s.toFixed(s < 10 ? 1 : 0) + " s";
    if (s < 3600) return Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0") + " min";
    return Math.floor(s / 3600) + ":" + String(Math.floor(s % 3600 / 60)).padStart(2, "0") + " h";
};
const axisText = v => chosen.axis === "t" ? clock(v) : v >= 1e6 ? +(v / 1e6).toPrecision(3) + "M" : v >= 1e4 ? +(v / 1e3).toPrecision(3) + "k" : String(v);

// Every line of every run, its colour and where it is drawn.
const lines = [];
DATA.runs.forEach((run, r) => run.series.forEach(s => lines.push({...s, run, r})));
const charts = [...new Set(lines.map(l => l.chart))];
for (const chart of charts) {
    const here = lines.filter(l => l.chart === chart);
    here.forEach((l, i) => {
        l.color = `var(--c${(many ? l.r : i) % COLORS})`;
        l.label = many ? l.run.name + (here.some(o => o.name !== l.name) ? " " + l.name : "") : l.name;
        l.key = chart + "/" + l.label;
        l.dash = many && l.kind === "valid" && here.some(o => o.kind === "train") ? "5 3" : "";
    });
}

// A mean that forgets to both sides, so that it does not lag behind; over a share of the line, whatever its number of points.
const smooth = (y, amount) => {
    if (!amount || y.length < 3) return y;
    const n = y.length, keepShare = Math.exp(-1 / (0.5 + n * 0.06 * amount ** 2)), sum = new Array(n).fill(0), weight = new Array(n).fill(0);
    for (const [from, to, by] of [[0, n, 1], [n - 1, -1, -1]]) {
        let s = 0, w = 0;
        for (let i = from; i !== to; i += by) {
            sum[i] += s, weight[i] += w;
            if (y[i] !== null) s += y[i], w += 1, by > 0 && (sum[i] += y[i], weight[i] += 1);
            s *= keepShare, w *= keepShare;
        }
    }
    return sum.map((s, i) => weight[i] ? s / weight[i] : null);
};
const ticks = (low, high, most) => {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough * 0.999), out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(+(i * step).toPrecision(12));
    return out;
};
const timeTicks = (high, most) => {
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400].find(s => high / s <= most) || high / most;
    const out = [];
    for (let v = 0; v <= high * 1.0001; v += step) out.push(v);
    return out;
};
const logTicks = (low, high) => {
    const out = [], decades = Math.log10(high / low), parts = decades > 4 ? [1] : decades > 1.5 ? [1, 3] : decades > 0.6 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
        for (const m of parts) if (m * 10 ** p >= low * 0.9999 && m * 10 ** p <= high * 1.0001) out.push(m * 10 ** p);
    return out;
};

function draw(box, chart, height) {
    const here = lines.filter(l => l.chart === chart && !chosen.off[l.key] && l.y.some(v => v !== null));
    box.replaceChildren();
    if (!here.length) return;
    const width = box.clientWidth || 600, left = 52, right = 12, top = 8, bottom = 24;
    const log = chosen.log[chart], axis = chosen.axis;
    const shown = here.map(l => ({...l, at: l[axis], s: l.kind === "train" && l.chart !== FACTOR ? smooth(l.y, chosen.smooth) : l.y}));
    let low = Infinity, high = -Infinity, far = 0;
    for (const l of shown) {
        far = Math.max(far, l.at[l.at.length - 1]);
        // The first moments of a training may be far above all that follows: what is shown faintly need not fit.
        for (const v of l.s) if (v !== null && (!log || v > 0)) low = Math.min(low, v), high = Math.max(high, v);
    }
    if (!(low <= high)) return;
    if (log) { if (high / low < 1.2) low /= 1.1, high *= 1.1; }
    else {
        const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
        if (low > 0 && low < (high - low) * 0.4) low = 0;
        else if (low !== 0) low -= pad;
        high += pad;
    }
    const px = v => left + (far ? v / far : 0) * (width - left - right);
    const py = v => top + (height - top - bottom) * (log ? Math.log(high / Math.max(v, low)) / Math.log(high / low) : (high - v) / (high - low));
    const svg = make("svg", {height, viewBox: `0 0 ${width} ${height}`}, box);
    const clip = "clip" + charts.indexOf(chart);
    make("rect", {x: left, y: top - 4, width: width - left, height: height - top - bottom + 8}, make("clipPath", {id: clip}, svg));
    for (const v of log ? logTicks(low, high) : ticks(low, high, height / 45)) {
        make("line", {class: "grid", x1: left, x2: width - right, y1: py(v), y2: py(v)}, svg);
        make("text", {x: left - 8, y: py(v) + 4, "text-anchor": "end"}, svg).textContent = show(v);
    }
    for (const v of far <= 0 ? [] : axis === "t" ? timeTicks(far, width / 90) : ticks(0, far, width / 90).filter(Number.isInteger))
        make("text", {x: px(v), y: height - 6, "text-anchor": v === 0 ? "start" : px(v) > width - 30 ? "end" : "middle"}, svg).textContent = axisText(v);
    if (!many) for (const [step, seconds, name] of DATA.runs[0].stages.slice(0, 40)) {
        const x = px(axis === "t" ? seconds : step);
        make("line", {class: "cross", x1: x, x2: x, y1: top, y2: height - bottom}, svg);
        if (DATA.runs[0].stages.length <= 8) make("text", {x: x + 4, y: top + 10}, svg).textContent = name;
    }
    const path = (at, y) => {
        let d = "", pen = false;
        for (let i = 0; i < at.length; i++) {
            if (y[i] === null || (log && y[i] <= 0)) { pen = false; continue; }
            d += (pen ? "L" : "M") + px(at[i]).toFixed(1) + " " + py(y[i]).toFixed(1), pen = true;
        }
        return d;
    };
    for (const l of shown) {
        const group = make("g", {"clip-path": `url(#${clip})`, style: `stroke:${l.color}`, fill: "none"}, svg);
        if (l.s !== l.y) make("path", {d: path(l.at, l.y), "stroke-width": 1, opacity: many ? 0.15 : 0.28}, group);
        make("path", {d: path(l.at, l.s), "stroke-width": 1.8, "stroke-linejoin": "round", "stroke-dasharray": l.dash}, group);
        if (l.kind === "valid" && l.at.length <= 60)
            l.at.forEach((v, i) => { if (l.y[i] !== null) make("circle", {cx: px(v), cy: py(l.y[i]), r: 2.8, style: `fill:${l.color}`, stroke: "none"}, group); });
    }
    const cross = make("line", {class: "cross", y1: top, y2: height - bottom, visibility: "hidden"}, svg);
    const tip = html("div", {className: "tip", hidden: true}, box);
    box.onpointerleave = () => { tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
    box.onpointermove = event => {
        const x = event.clientX - box.getBoundingClientRect().left, v = (x - left) / (width - left - right) * far;
        if (x < left - 4 || x > width) return box.onpointerleave();
        tip.replaceChildren(html("b", {}, null, axis === "t" ? clock(Math.max(0, v)) : "step " + Math.max(0, Math.round(v))));
        for (const l of shown) {
            let i = 0, j = l.at.length - 1; // nearest point
            while (j - i > 1) { const m = (i + j) >> 1; if (l.at[m] <= v) i = m; else j = m; }
            const k = Math.abs(l.at[i] - v) <= Math.abs(l.at[j] - v) ? i : j;
            if (l.s[k] === null || Math.abs(l.at[k] - v) > far * 0.25) continue;
            const row = html("div", {}, tip);
            html("i", {style: `background:${l.color}`}, row);
            row.append(l.label);
            html("span", {}, row, show(l.s[k]));
        }
        tip.hidden = false, cross.setAttribute("visibility", "visible");
        cross.setAttribute("x1", x), cross.setAttribute("x2", x);
        tip.style.left = (x > width * 0.6 ? x - tip.offsetWidth - 12 : x + 12) + "px", tip.style.top = "14px";
    };
}

const drawings = [];
const drawAll = () => drawings.forEach(f => f());
function figure(chart, parent, height) {
    const node = html("figure", {}, parent), caption = html("figcaption", {}, node);
    html("h2", {}, caption, chart.replaceAll("_", " "));
    for (const l of lines.filter(o => o.chart === chart)) {
        if (lines.filter(o => o.chart === chart).length < 2) break;
        const entry = html("button", {className: "legend" + (chosen.off[l.key] ? " off" : ""), title: "show or hide"}, caption);
        const sample = make("svg", {viewBox: "0 0 22 10"}, entry);
        make("line", {x1: 1, x2: 21, y1: 5, y2: 5, style: `stroke:${l.color}`, "stroke-width": 2.4, "stroke-dasharray": l.dash}, sample);
        if (l.kind === "valid") make("circle", {cx: 11, cy: 5, r: 3.4, style: `fill:${l.color}`}, sample);
        entry.append(l.label);
        entry.onclick = () => { chosen.off[l.key] = !chosen.off[l.key]; entry.classList.toggle("off"); keep(); redraw(); };
    }
    const label = html("label", {}, caption), box = html("input", {type: "checkbox", checked: !!chosen.log[chart]}, label);
    label.append(" log");
    box.onchange = () => { chosen.log[chart] = box.checked; keep(); redraw(); };
    const area = html("div", {className: "chart"}, node);
    const redraw = () => draw(area, chart, height);
    drawings.push(redraw);
}

const place = document.getElementById("charts");
if (charts.length) {
    const controls = html("div", {className: "controls"}, place), pick = html("span", {className: "pick"}, controls);
    for (const [axis, name] of [["x", "by step"], ["t", "by time"]]) {
        const button = html("button", {}, pick, name);
        button.setAttribute("aria-pressed", chosen.axis === axis);
        button.onclick = () => {
            chosen.axis = axis, keep();
            for (const other of pick.children) other.setAttribute("aria-pressed", other === button);
            drawAll();
        };
    }
    const label = html("label", {}, controls, "smoothing"), range = html("input", {type: "range", min: 0, max: 1, step: 0.05, value: chosen.smooth}, label);
    range.oninput = () => { chosen.smooth = +range.value; keep(); drawAll(); };
}
figure.small = null;
for (const chart of charts) {
    if (chart === charts[0]) figure(chart, place, 340);
    else figure(chart, figure.small || (figure.small = html("div", {className: "pair"}, place)), 190);
}
addEventListener("resize", drawAll);
drawAll();
