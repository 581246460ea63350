// Shows the configuration behind the point that is nearest to the pointer, finger or arrow key.
"use strict";
const known = JSON.parse(document.getElementById("known").textContent);
const tip = document.getElementById("tip");
const REACH = 24; // pixels

function words(key) {
  const trial = known.trials[key];
  if (!trial) return key;
  const [run] = key.split("/");
  const values = trial[4].map((value, i) => (value === null ? "" : `\n${known.names[i]}: ${value}`));
  return `${known.runs[run]}, trial ${key.split("/")[1]}\n${trial[0]}, ${trial[1]} epochs, ${trial[2]}\n` +
    trial[3] + values.join("");
}

// The points of a drawing, in its own units: [x, y, element, words].
function pointsOf(svg) {
  if (svg.points) return svg.points;
  svg.points = [];
  for (const group of svg.querySelectorAll("g[id]")) {
    const keys = known.marks[group.id];
    if (!keys) continue;
    const drawn = [...group.querySelectorAll("use")].filter((one) => !one.closest("defs"));
    if (!drawn.length) {
      const paths = [...group.querySelectorAll("path")];
      const closed = (path) => path.getAttribute("d").includes("z");
      const corners = (path, key) => [...path.getAttribute("d").matchAll(/[ML] (\S+) (\S+)/g)]
        .map((at) => [+at[1], +at[2], path, key]);
      const middle = (path, key) => {
        const box = path.getBBox();
        return [[box.x + box.width / 2, box.y + box.height / 2, path, key]];
      };
      paths.forEach((path, i) => svg.points.push(...(closed(path) ? middle : corners)(path, keys[i])));
    }
    drawn.forEach((one, i) =>
      svg.points.push([+one.getAttribute("x"), +one.getAttribute("y"), one, keys[i]]));
  }
  return svg.points;
}

function hide() {
  tip.hidden = true;
  document.querySelectorAll(".halo").forEach((one) => one.remove());
}

function show(svg, point) {
  hide();
  const [x, y, element, key] = point;
  const halo = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of [["cx", x], ["cy", y], ["r", 6], ["class", "halo"]]) halo.setAttribute(name, value);
  svg.append(halo);
  if (element.tagName === "path") {
    const line = element.cloneNode();
    line.removeAttribute("clip-path");
    line.setAttribute("class", "halo");
    svg.append(line);
  }
  tip.textContent = words(key);
  tip.hidden = false;
  const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  const size = tip.getBoundingClientRect();
  const right = at.x + 14 + size.width > innerWidth ? at.x - 14 - size.width : at.x + 14;
  tip.style.left = `${Math.max(4, Math.min(right, innerWidth - size.width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(at.y + 14, innerHeight - size.height - 4))}px`;
}

function nearest(svg, event) {
  const matrix = svg.getScreenCTM();
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  let best = null, least = REACH / matrix.a;
  for (const point of pointsOf(svg)) {
    const distance = Math.hypot(point[0] - at.x, point[1] - at.y);
    if (distance < least) [best, least] = [point, distance];
  }
  return best;
}

for (const svg of document.querySelectorAll("svg[tabindex]")) {
  let place = -1;
  const point = (event) => {
    const found = nearest(svg, event);
    found ? show(svg, found) : hide();
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const points = pointsOf(svg);
    place = (place + step + points.length) % points.length;
    show(svg, points[place]);
  });
}
document.addEventListener("pointerdown", (event) => { if (!event.target.closest("svg[tabindex]")) hide(); });
addEventListener("scroll", hide, { passive: true });
