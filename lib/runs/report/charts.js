// SPDX-License-Identifier: MIT
// What the charts of any report share; the page's own script has `draw(element)` for one of them.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // nothing leaves the page
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

function redraw() {
  for (const element of document.querySelectorAll(".chart[data-drawn]")) draw(element);
}

// A chart is drawn when it comes near the window: twenty runs have many.
function drawOnSight() {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const element of document.querySelectorAll(".chart")) seen.observe(element);
}

// Charts are drawn again when the colours of the page change. Paper is always light.
function followColours() {
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; redraw(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });
}
