// SPDX-License-Identifier: MIT
// Draws the curves of a report with plotly.js, and filters its tables of settings. charts.js comes first.
"use strict";

const { runs, charts } = JSON.parse(document.getElementById("data").textContent);
const single = runs.length === 1;
const control = (id) => document.getElementById(id);

// Of one run, colours tell the splits apart; of several, colours tell the runs and dashes the splits.
const SPLIT_COLOUR = { "": "#4477aa", train: "#4477aa", val: "#ee6677", test: "#228833" };
const SPLIT_DASH = { "": "solid", train: "solid", val: "dot", test: "dash" };
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#999999"];

function runColour(number) {
  if (number < COLOURS.length) return COLOURS[number];
  return `hsl(${Math.round(number * 137.5) % 360} 60% 55%)`; // turns by the golden angle
}

// Plotly reads names as markup.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function curveName(chart, curve) {
  const metric = curve.split ? `${curve.split}/${chart.quantity}` : chart.quantity;
  if (single) return plain(curve.split || metric);
  return plain(curve.split ? `${runs[curve.run].name} (${curve.split})` : runs[curve.run].name);
}

// The mean of each value and those on either side, `share` of the curve each way; fewer at its ends.
function smooth(values, share) {
  const reach = Math.round(values.length * share);
  const sums = [0];
  for (const value of values) sums.push(sums[sums.length - 1] + value);
  return values.map((_, i) => {
    const from = Math.max(0, i - reach);
    const to = Math.min(values.length, i + reach + 1);
    return (sums[to] - sums[from]) / (to - from);
  });
}

const AXIS_TITLE = { steps: "step", seconds: "minutes since the start", epochs: "epoch" };

function along(points, axis, run) {
  if (axis === "seconds") return points.seconds.map((s) => (s === null ? null : s / 60));
  if (axis === "epochs") return points.steps.map((step) => step / runs[run].epoch);
  return points.steps;
}

function traces(chart, state) {
  const made = [];
  for (const curve of chart.curves) {
    if (!state.shown[curve.run]) continue;
    const line = {
      color: single ? SPLIT_COLOUR[curve.split] : runColour(curve.run),
      dash: single ? "solid" : SPLIT_DASH[curve.split],
      width: 2,
    };
    const few = curve.steps.length <= 60 && state.share === 0;
    const common = { type: "scatter", name: curveName(chart, curve), yhoverformat: ".6~g" };
    const raw = { ...common, x: along(curve, state.axis, curve.run), y: curve.values, line };
    raw.mode = few ? "lines+markers" : "lines";
    if (state.share === 0) {
      made.push(raw);
      continue;
    }
    const base = curve.means || curve; // of a thinned curve, the mean of each stretch
    made.push({ ...raw, opacity: 0.3, line: { ...line, width: 1, dash: "solid" },
      hoverinfo: "skip", showlegend: false });
    made.push({ ...common, x: along(base, state.axis, curve.run), y: smooth(base.values, state.share), line,
      mode: "lines" });
  }
  return made;
}

// A dotted line at the best evaluation, where the curve that decides it is drawn.
function bestLine(chart, state) {
  const val = single && chart.curves.find((curve) => curve.split === "val");
  const at = val ? val.steps.indexOf(runs[0].best) : -1;
  if (at < 0) return {};
  const x = along(val, state.axis, 0)[at];
  const line = { color: SPLIT_COLOUR.val, width: 1, dash: "dot" };
  const note = { x, y: 1, yref: "paper", yanchor: "top", xanchor: "right", text: "best", showarrow: false };
  return {
    shapes: [{ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line }],
    annotations: [{ ...note, font: { size: 11, color: SPLIT_COLOUR.val } }],
  };
}

function layout(chart, state) {
  const light = printing || !dark.matches;
  const ink = light ? "#1b1f24" : "#e4e7eb";
  const grid = { gridcolor: light ? "#e3e6ea" : "#2c3239", zeroline: false, automargin: true };
  const panel = light ? "#ffffff" : "#1d2126";
  return {
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 50, r: 10, t: 20, b: 40 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: panel, font: { color: ink }, namelength: -1 },
    showlegend: single && chart.curves.length > 1,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: light ? "#5a6470" : "#a2abb5", activecolor: ink },
    xaxis: { ...grid, title: { text: AXIS_TITLE[state.axis] } },
    yaxis: { ...grid, type: state.log ? "log" : "linear", exponentformat: "power" },
    uirevision: `${state.axis} ${state.log}`, // keeps the zoom while smoothing
    ...bestLine(chart, state),
  };
}

function state() {
  const share = Number(control("smoothing").value) / 200;
  const boxes = [...document.querySelectorAll(".shown")];
  return {
    axis: control("axis").value,
    log: control("log").checked,
    share,
    shown: boxes.length ? boxes.map((box) => box.checked) : [true],
  };
}

function draw(element) {
  const chart = charts[Number(element.dataset.chart)];
  const now = state();
  Plotly.react(element, traces(chart, now), layout(chart, now), CONFIG);
  element.dataset.drawn = "yes";
  const lost = now.log ? chart.curves.flatMap((c) => c.values).filter((v) => v <= 0).length : 0;
  const said = element.parentElement.querySelector(".on-log");
  said.hidden = lost === 0;
  said.textContent = `${lost} values are 0 or less and have no place on a logarithmic axis`;
}

function watchControls() {
  const form = control("controls");
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const share = state().share;
    control("smoothing-said").textContent = share ? `±${(100 * share).toFixed(1)} %` : "none";
    redraw();
  });
  form.querySelectorAll(".swatch").forEach((swatch, i) => { swatch.style.background = runColour(i); });
  for (const button of form.querySelectorAll(".choose")) {
    button.addEventListener("click", () => {
      for (const box of form.querySelectorAll(".shown")) box.checked = Boolean(button.value);
      redraw();
    });
  }
}

function filterSettings(section) {
  const wanted = section.querySelector(".wanted");
  const onlyChanged = section.querySelector(".only-changed");
  const apply = () => {
    const words = wanted.value.toLowerCase().split(/\s+/);
    for (const menu of section.querySelectorAll(".menu")) {
      let some = false;
      for (const row of menu.querySelectorAll("tr")) {
        const text = row.textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word));
        row.hidden = !fits || (onlyChanged.checked && !row.classList.contains("changed"));
        some ||= !row.hidden;
      }
      menu.hidden = !some;
    }
  };
  section.querySelector(".filter").hidden = false;
  wanted.addEventListener("input", apply);
  onlyChanged.addEventListener("input", apply);
}

if (control("controls")) {
  watchControls();
  drawOnSight();
  followColours();
}
document.querySelectorAll(".settings").forEach((section) => {
  if (section.querySelector(".wanted")) filterSettings(section);
});
