// SPDX-License-Identifier: MIT
// Draws the charts of a sweep's report with plotly.js. charts.js comes first.
"use strict";

const figures = JSON.parse(document.getElementById("data").textContent);

const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"];
// Low to high, for surfaces; reversed where high is better, so that dark is always good.
const SURFACE = [[0, "#2a2a6b"], [0.25, "#35618d"], [0.5, "#2a8f8a"], [0.75, "#7dc564"], [1, "#f3e55c"]];

// From 0, the best, to 1, the worst.
function shade(share) {
  return `hsl(${230 - 170 * share} 60% ${35 + 35 * share}%)`;
}

function painted(trace, highIsBetter) {
  if (trace.type === "heatmap" || trace.type === "contour") {
    return { ...trace, colorscale: SURFACE, reversescale: highIsBetter, colorbar: { thickness: 12 } };
  }
  if (trace.shade === undefined) return trace;
  const colour = shade(trace.shade);
  const marker = { size: 5, color: colour };
  return { ...trace, shade: undefined, marker, line: { ...trace.line, color: colour }, opacity: 1 - 0.6 * trace.shade };
}

function layout(figure) {
  const light = printing || !dark.matches;
  const ink = light ? "#1b1f24" : "#e4e7eb";
  const panel = light ? "#ffffff" : "#1d2126";
  const lines = { gridcolor: light ? "#e3e6ea" : "#2c3239", zeroline: false, automargin: true };
  const own = figure.layout;
  return {
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 50, r: 20, t: 30, b: 40 },
    hovermode: "closest", colorway: COLOURS,
    hoverlabel: { bgcolor: panel, font: { color: ink }, namelength: -1, align: "left" },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: light ? "#5a6470" : "#a2abb5", activecolor: ink },
    ...own,
    annotations: (own.annotations || []).map((note) => ({ ...note, bgcolor: light ? "#ffffffcc" : "#14171acc" })),
    xaxis: { ...lines, ...own.xaxis }, yaxis: { ...lines, ...own.yaxis },
  };
}

function draw(element) {
  const figure = figures[Number(element.dataset.chart)];
  const data = figure.data.map((trace) => painted(trace, figure.high_is_better));
  Plotly.react(element, data, layout(figure), CONFIG);
  element.dataset.drawn = "yes";
}

drawOnSight();
followColours();
