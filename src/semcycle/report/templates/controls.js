// The viewer's controls: sliders, layers, mouse and keys.
function connect(viewer) {
  const root = viewer.root, get = name => root.querySelector(`[data-control=${name}]`);
  const [opacity, threshold, black, white] = ["opacity", "threshold", "black", "white"].map(get);
  const start = viewer.scores.threshold ? Math.max(1, Math.round(viewer.scores.threshold / viewer.scores.step)) : 0;
  const reach = viewer.scores.last * viewer.scores.step;
  let waiting = false;

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; viewer.draw(); });
  }

  function say(input, text) {
    input.setAttribute("aria-valuetext", text);
    root.querySelector(`output[for=${input.id}]`).textContent = text;
  }

  function set() {
    viewer.opacity = Number(opacity.value) / 100;
    viewer.level = Number(threshold.value);
    for (const name of ["black", "white"]) viewer.image[name] = viewer.image.low + Number(get(name).value) * viewer.image.step;
    say(opacity, `${opacity.value} %`);
    say(threshold, short(viewer.level * viewer.scores.step));
    say(black, short(viewer.image.black));
    say(white, short(viewer.image.white));
    const voxels = viewer.counts[viewer.level];
    get("volume").textContent = viewer.level === 0 ? "Threshold 0: every score is shown."
      : `${(voxels * viewer.voxelMl).toFixed(1)} ml, ${short(100 * voxels / viewer.brainVoxels)} % of the brain, reach ${short(viewer.level * viewer.scores.step)}; specks included.`;
    get("cut").style.left = `${100 * viewer.level / viewer.scores.last}%`;
    const live = document.querySelector("#histogram .live");
    if (live) {
      const { left, right, last } = live.dataset, share = Math.min(viewer.level * viewer.scores.step / Number(last), 1);
      live.setAttribute("transform", `translate(${Number(left) + share * (Number(right) - Number(left))} 0)`);
    }
    redraw();
  }

  function move(at) {
    viewer.at = at.map((place, axis) => Math.min(Math.max(place, 0), viewer.shape[axis] - 1));
    for (const { plane, slider, canvas, name } of viewer.panels) {
      slider.value = viewer.at[plane.through];
      const millimetres = viewer.place(viewer.toMm, viewer.at)[plane.through].toFixed(1);
      slider.setAttribute("aria-valuetext", `${millimetres} mm`);
      canvas.setAttribute("aria-label", `${name} plane at ${millimetres} mm; arrow keys move the crosshair, Page Up and Page Down the plane`);
    }
    tell("crosshair", viewer.at);
    redraw();
  }

  function tell(which, at) {
    const words = at ? viewer.describe(at) : {};
    for (const cell of root.querySelectorAll(`[data-row=${which}] [data-value]`)) cell.textContent = words[cell.dataset.value] ?? "–";
  }

  for (const panel of viewer.panels) {
    const { canvas, plane, slider } = panel;
    const under = event => viewer.find(panel, event.offsetX, event.offsetY);
    const shift = (axis, count) => { const at = [...viewer.at]; at[axis] += count; move(at); };
    slider.max = viewer.shape[plane.through] - 1;
    slider.addEventListener("input", () => shift(plane.through, Number(slider.value) - viewer.at[plane.through]));
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); canvas.focus({ preventScroll: true }); move(under(event)); });
    canvas.addEventListener("pointermove", event => { if (event.buttons & 1) move(under(event)); tell("pointer", under(event)); });
    canvas.addEventListener("pointerleave", () => tell("pointer", null));
    canvas.addEventListener("wheel", event => { // only once the plane was clicked: else the page could not be scrolled past it
      if (document.activeElement !== canvas || event.ctrlKey) return;
      event.preventDefault();
      shift(plane.through, event.deltaY > 0 ? -1 : 1);
    }, { passive: false });
    const keys = { ArrowLeft: [plane.across, 1], ArrowRight: [plane.across, -1], ArrowUp: [plane.up, 1], ArrowDown: [plane.up, -1], PageUp: [plane.through, 1], PageDown: [plane.through, -1] };
    canvas.addEventListener("keydown", event => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      const [axis, count] = keys[event.key];
      shift(axis, event.shiftKey ? 10 * count : count);
    });
  }

  for (const input of [opacity, threshold, black, white]) input.addEventListener("input", set);
  viewer.view.base = root.querySelector("input[name=base]:checked").value; // browsers may keep a choice over a reload
  for (const input of root.querySelectorAll("input[name=base]")) input.addEventListener("change", () => { viewer.view.base = input.value; redraw(); });
  for (const input of root.querySelectorAll("input[data-layer]")) {
    viewer.view[input.dataset.layer] = input.checked;
    input.addEventListener("change", () => { viewer.view[input.dataset.layer] = input.checked; redraw(); });
  }

  const level = value => Math.round((value - viewer.image.low) / viewer.image.step);
  function reset() {
    opacity.value = 70;
    threshold.max = viewer.scores.last;
    threshold.value = start;
    black.value = level(viewer.home.black);
    white.value = level(viewer.home.white);
    set();
    move(viewer.start);
  }
  const rows = [...document.querySelectorAll("#findings tr[data-finding]")];
  let shown = -1;
  function visit(number) {
    shown = number;
    for (const row of rows) row.setAttribute("aria-current", Number(row.dataset.finding) === number);
    move(viewer.findings[number]);
  }
  for (const row of rows) row.addEventListener("click", () => { visit(Number(row.dataset.finding)); root.scrollIntoView({ block: "nearest" }); });
  document.addEventListener("keydown", event => {
    if (!rows.length || event.ctrlKey || event.metaKey || event.altKey || !["n", "p"].includes(event.key)) return;
    const order = [...document.querySelectorAll("#findings tr[data-finding]")].map(row => Number(row.dataset.finding)); // as the table is sorted
    const place = order.indexOf(shown), step = event.key === "n" ? 1 : -1;
    visit(order[place < 0 ? (step > 0 ? 0 : order.length - 1) : (place + step + order.length) % order.length]);
  });

  viewer.home = { ...viewer.image };
  get("reset").addEventListener("click", reset);
  get("top").textContent = short(reach);
  new ResizeObserver(redraw).observe(root);
  reset();
}

(async () => {
  const root = document.querySelector("#viewer"), notice = root.querySelector("[data-control=notice]");
  try {
    const parts = [...document.querySelectorAll("script[data-volume]")];
    const volumes = Object.fromEntries(await Promise.all(parts.map(async part => [part.dataset.volume, await unpack(part)])));
    const viewer = new Viewer(root, JSON.parse(document.querySelector("#viewer-settings").textContent), volumes);
    root.addEventListener("drawn", () => { root.dataset.ready = "true"; }, { once: true });
    connect(viewer);
    parts.forEach(part => part.remove());
    notice.remove();
  } catch (error) {
    notice.textContent = "This browser cannot unpack the volumes: the viewer needs Chrome or Edge 80, Firefox 113 or Safari 16.4, or newer. The pictures below need nothing.";
    throw error;
  }
})();
