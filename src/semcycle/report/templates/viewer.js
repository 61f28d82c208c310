// Three planes through a scan with its anomaly scores on top. Volumes are bytes, x running fastest, axes right, anterior, superior.
// Planes are drawn as radiologists read them: anterior or superior up, the patient's left on the right.
const PLANES = {
  axial: { across: 0, up: 1, through: 2, sides: ["R", "L", "A", "P"] },
  coronal: { across: 0, up: 2, through: 1, sides: ["R", "L", "S", "I"] },
  sagittal: { across: 1, up: 2, through: 0, sides: ["A", "P", "S", "I"] },
};
const FAINTEST = 0.45; // opacity of the lowest score that is shown, over the control's, where a threshold is set

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent.trim()), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Viewer {
  constructor(root, settings, volumes) {
    Object.assign(this, settings, { root, volumes });
    const [x, y] = this.shape;
    this.strides = [1, x, x * y];
    this.extent = this.shape.map((size, axis) => size * this.spacing[axis]);
    this.at = [...this.start];
    this.view = { base: "image", overlay: true, outline: "lesion" in volumes, cross: true };
    this.counts = new Float64Array(257); // voxels with at least this score
    for (const score of volumes.scores) this.counts[score]++;
    for (let score = 254; score >= 0; score--) this.counts[score] += this.counts[score + 1];
    this.counts[0] = this.brainVoxels;
    const columns = Object.values(PLANES).map(plane => `minmax(0, ${this.extent[plane.across]}fr)`).join(" ");
    root.querySelector(".planes").style.setProperty("--columns", columns);
    this.panels = Object.entries(PLANES).map(([name, plane]) => this.makePanel(name, plane));
  }

  makePanel(name, plane) {
    const canvas = this.root.querySelector(`canvas[data-plane=${name}]`);
    const size = [this.shape[plane.across], this.shape[plane.up]];
    const [base, overlay] = [0, 1].map(() => Object.assign(document.createElement("canvas"), { width: size[0], height: size[1] }));
    canvas.style.aspectRatio = `${this.extent[plane.across]} / ${this.extent[plane.up]}`;
    return { name, plane, canvas, size, base, overlay, slider: this.root.querySelector(`input[data-plane=${name}]`) };
  }

  index(at) { return at[0] + this.strides[1] * at[1] + this.strides[2] * at[2]; }

  // Calls visit(pixel, voxel) for every pixel of a panel's slice, from the top left.
  scan({ plane, size }, visit) {
    const [wide, high] = size;
    const start = this.at[plane.through] * this.strides[plane.through];
    for (let row = 0, pixel = 0; row < high; row++) {
      let voxel = start + (high - 1 - row) * this.strides[plane.up] + (wide - 1) * this.strides[plane.across];
      for (let column = 0; column < wide; column++, pixel++, voxel -= this.strides[plane.across]) visit(pixel, voxel);
    }
  }

  draw() {
    const grey = Uint8ClampedArray.from({ length: 256 }, (_, level) =>
      255 * (this.image.low + level * this.image.step - this.image.black) / Math.max(this.image.white - this.image.black, 1e-9));
    const colours = new Uint32Array(256);
    const cut = Math.max(this.level, 1);
    for (let score = cut; score < 256; score++) {
      const share = Math.min(score * this.scores.step / this.scores.top, 1);
      const [red, green, blue] = this.anomalyColours[Math.round(share * 255)];
      const strength = Math.min(Math.max(2 * share - 0.2, this.level > 0 ? FAINTEST : 0), 1);
      colours[score] = (Math.round(255 * strength * this.opacity) << 24 | blue << 16 | green << 8 | red) >>> 0;
    }
    for (const panel of this.panels) this.drawPanel(panel, grey, colours);
    this.root.dispatchEvent(new Event("drawn"));
  }

  drawPanel(panel, grey, colours) {
    const { canvas, size, plane } = panel;
    this.fill(panel.base, size, pixels => this.view.base === "tissue" ? this.paintTissue(panel, pixels) : this.paintGrey(panel, pixels, grey));
    const scale = window.devicePixelRatio || 1;
    const [wide, high] = [canvas.clientWidth, canvas.clientHeight].map(length => Math.max(Math.round(length * scale), 1));
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, wide, high);
    context.imageSmoothingEnabled = true;
    context.drawImage(panel.base, 0, 0, wide, high);
    if (this.view.overlay) {
      this.fill(panel.overlay, size, pixels => this.scan(panel, (pixel, voxel) => { pixels[pixel] = colours[this.volumes.scores[voxel]]; }));
      context.imageSmoothingEnabled = false;
      context.drawImage(panel.overlay, 0, 0, wide, high);
    }
    if (this.view.outline) this.strokeOutline(panel, context, wide, high, scale);
    if (this.view.cross) this.strokeCross(panel, context, wide, high, scale);
    this.label(plane.sides, context, wide, high, scale);
  }

  fill(target, size, paint) {
    const context = target.getContext("2d"), picture = context.createImageData(...size);
    paint(new Uint32Array(picture.data.buffer));
    context.putImageData(picture, 0, 0);
  }

  paintGrey(panel, pixels, grey) {
    const volume = this.volumes[this.view.base];
    this.scan(panel, (pixel, voxel) => { pixels[pixel] = (0xff000000 | grey[volume[voxel]] * 0x010101) >>> 0; });
  }

  paintTissue(panel, pixels) {
    const [gm, wm, csf] = ["gm", "wm", "csf"].map(name => this.volumes[name]);
    const [one, two, three] = this.tissueColours.map(colour => colour.map(part => part / this.tissueLevels));
    this.scan(panel, (pixel, voxel) => {
      const mix = part => Math.min(255, Math.round(gm[voxel] * one[part] + wm[voxel] * two[part] + csf[voxel] * three[part]));
      pixels[pixel] = (0xff000000 | mix(2) << 16 | mix(1) << 8 | mix(0)) >>> 0;
    });
  }

  // The border of the mask, along the edges of voxels.
  strokeOutline(panel, context, wide, high, scale) {
    const mask = this.volumes.lesion, [columns, rows] = panel.size, inside = new Uint8Array(columns * rows);
    this.scan(panel, (pixel, voxel) => { inside[pixel] = mask[voxel]; });
    context.beginPath();
    const line = (x, y, toX, toY) => { context.moveTo(x / columns * wide, y / rows * high); context.lineTo(toX / columns * wide, toY / rows * high); };
    inside.forEach((marked, pixel) => {
      if (!marked) return;
      const x = pixel % columns, y = (pixel - x) / columns;
      if (x === 0 || !inside[pixel - 1]) line(x, y, x, y + 1);
      if (x === columns - 1 || !inside[pixel + 1]) line(x + 1, y, x + 1, y + 1);
      if (y === 0 || !inside[pixel - columns]) line(x, y, x + 1, y);
      if (y === rows - 1 || !inside[pixel + columns]) line(x, y + 1, x + 1, y + 1);
    });
    context.lineWidth = 1.5 * scale;
    context.strokeStyle = this.outline;
    context.stroke();
  }

  strokeCross({ plane, size }, context, wide, high, scale) {
    const x = (size[0] - 0.5 - this.at[plane.across]) / size[0] * wide, y = (size[1] - 0.5 - this.at[plane.up]) / size[1] * high;
    const gap = 9 * scale;
    context.beginPath();
    for (const [from, to] of [[[0, y], [x - gap, y]], [[x + gap, y], [wide, y]], [[x, 0], [x, y - gap]], [[x, y + gap], [x, high]]]) {
      context.moveTo(...from);
      context.lineTo(...to);
    }
    context.lineWidth = scale;
    context.strokeStyle = "rgba(255, 255, 255, 0.55)";
    context.stroke();
  }

  label([left, right, top, bottom], context, wide, high, scale) {
    context.font = `600 ${12 * scale}px system-ui, sans-serif`;
    context.fillStyle = "#eef1f4";
    context.shadowColor = "#000";
    context.shadowBlur = 3 * scale;
    const write = (text, x, y, align, line) => { context.textAlign = align; context.textBaseline = line; context.fillText(text, x, y); };
    const edge = 5 * scale;
    write(left, edge, high / 2, "left", "middle");
    write(right, wide - edge, high / 2, "right", "middle");
    write(top, wide / 2, edge, "center", "top");
    write(bottom, wide / 2, high - edge, "center", "bottom");
    context.shadowBlur = 0;
  }

  // Voxel under a place on a panel, in CSS pixels from its top left.
  find({ plane, canvas, size }, x, y) {
    const clamp = (value, axis) => Math.min(Math.max(value, 0), this.shape[axis] - 1);
    const found = [...this.at];
    found[plane.across] = clamp(size[0] - 1 - Math.floor(x / canvas.clientWidth * size[0]), plane.across);
    found[plane.up] = clamp(size[1] - 1 - Math.floor(y / canvas.clientHeight * size[1]), plane.up);
    return found;
  }

  place(matrix, at) { return matrix.map(row => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]); }

  // What lies at a voxel, as name -> words.
  describe(at) {
    const index = this.index(at), value = name => this.volumes[name][index];
    const grey = name => (value(name) === 255 ? "≥ " : "") + short(this.image.low + value(name) * this.image.step);
    const words = {
      "voxel": this.place(this.toVoxel, at).map(Math.round).join(", "),
      "mm": this.place(this.toMm, at).map(part => part.toFixed(1)).join(", "),
      "input": grey("image"),
      "score": short(value("scores") * this.scores.step),
    };
    if ("reconstruction" in this.volumes) words.reconstruction = grey("reconstruction");
    if ("gm" in this.volumes) words["GM, WM, CSF %"] = ["gm", "wm", "csf"].map(name => Math.round(100 * value(name) / this.tissueLevels)).join(", ");
    if ("lesion" in this.volumes) words["lesion mask"] = value("lesion") ? "inside" : "outside";
    return words;
  }
}

function short(number) {
  const size = Math.abs(number);
  return size >= 1e6 ? number.toExponential(2) : size >= 1000 ? number.toFixed(0) : String(Number(number.toPrecision(3)));
}
