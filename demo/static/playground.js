/* The playground in the plane, without a server: the mixture, its faults and the scores of demo/playground, in the
   browser. Numbers and words come from the Python code: make_static_space.py writes them into the page. */
"use strict";

(() => {
  const { mixture, nearest_k: NEAREST_K, density_k: DENSITY_K, scores: SCORES, stories: STORIES } =
    JSON.parse(document.getElementById("playground-data").textContent);
  const { num_modes: MODES, radius: RADIUS, std: STD, invented_radius: INVENTED, half_width: HALF } = mixture;

  // Of the generator here. With it the seeds of the stories are draws in which the scores are as they are on average.
  const SALT = 38;

  // Random numbers

  /** mulberry32: uniform numbers in [0, 1), and standard normal ones by Box and Muller. */
  function generator(seed, stream) {
    const mixed = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(stream + 1, 0x85ebca6b) ^ Math.imul(SALT, 0xc2b2ae35);
    let state = mixed >>> 0;
    function uniform() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    }
    function normals() {
      const length = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      return [length * Math.cos(angle), length * Math.sin(angle)];
    }
    function permutation(size) {
      const order = Array.from({ length: size }, (_, index) => index);
      for (let last = size - 1; last > 0; last--) {
        const other = Math.floor(uniform() * (last + 1));
        [order[last], order[other]] = [order[other], order[last]];
      }
      return order;
    }
    return { uniform, normals, permutation };
  }

  // The mixture

  /** Clockwise from the top. */
  function ring(radius) {
    return Array.from({ length: MODES }, (_, mode) => {
      const angle = Math.PI / 2 - (mode * 2 * Math.PI) / MODES;
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    });
  }
  const REAL_CENTRES = ring(RADIUS);
  const INVENTED_CENTRES = ring(INVENTED);

  function realPoints(knobs, stream) {
    const random = generator(knobs.seed, stream);
    const points = [], modes = [];
    for (let row = 0; row < knobs.num_points; row++) {
      const mode = Math.floor(random.uniform() * MODES);
      const [x, y] = random.normals();
      modes.push(mode);
      points.push([REAL_CENTRES[mode][0] + STD * x, REAL_CENTRES[mode][1] + STD * y]);
    }
    return { points, modes };
  }

  /** The points of one step. Throws an Error with words for the reader where the knobs contradict each other. */
  function draw(knobs) {
    if (knobs.modes_dropped === MODES && knobs.modes_invented === 0) {
      throw new Error(
        `All ${MODES} modes are dropped and none is invented, so there is nothing to score. Keep a mode, or invent one.`,
      );
    }
    if (knobs.modes_dropped === MODES && knobs.copies > 0) {
      throw new Error(
        "Copies are of real modes that the model has, and it has none. Keep a mode, or set the copies to 0.",
      );
    }
    const { points: training, modes } = realPoints(knobs, 0);
    const heldOut = realPoints(knobs, 1).points;
    const size = knobs.num_points;
    const random = generator(knobs.seed, 2);
    // Everything is drawn whether it is needed or not, so that a knob moves only what it is about.
    const drawn = Array.from({ length: size }, () => ({
      which: random.uniform(),
      offset: random.normals(),
      anywhere: [HALF * (2 * random.uniform() - 1), HALF * (2 * random.uniform() - 1)],
    }));
    const order = random.permutation(size), orderOfTraining = random.permutation(size);
    const centres = [...REAL_CENTRES.slice(knobs.modes_dropped), ...INVENTED_CENTRES.slice(0, knobs.modes_invented)];
    const generated = drawn.map(({ which, offset }) => {
      const centre = centres[Math.floor(which * centres.length)];
      return [centre[0] + knobs.blur * STD * offset[0], centre[1] + knobs.blur * STD * offset[1]];
    });
    const numCopies = Math.round(knobs.copies * size);
    const numNoise = Math.round(knobs.noise * (size - numCopies));
    for (const row of order.slice(0, numNoise)) generated[row] = drawn[row].anywhere;
    const copied = new Set(order.slice(size - numCopies));
    if (numCopies) {
      const source = orderOfTraining.filter((row) => modes[row] >= knobs.modes_dropped);
      if (!source.length) {
        throw new Error(
          `None of ${size} training points belongs to the modes that are left, so there is nothing to copy. ` +
          "Take more points, or keep more modes.",
        );
      }
      [...copied].forEach((row, index) => { generated[row] = training[source[index % source.length]]; });
    }
    return { generated, training, reference: knobs.against_training ? training : heldOut, copied };
  }

  /** (N, 8) exact ln p(mode | x) under the real mixture, but for a constant in each row: logits of the modes. */
  function logPosteriors(points) {
    return points.map(([x, y]) => REAL_CENTRES.map(([a, b]) => -((x - a) ** 2 + (y - b) ** 2) / (2 * STD ** 2)));
  }

  // The scores

  function moments(points) {
    let x = 0, y = 0, xx = 0, xy = 0, yy = 0;
    for (const point of points) { x += point[0]; y += point[1]; }
    x /= points.length; y /= points.length;
    for (const point of points) {
      const dx = point[0] - x, dy = point[1] - y;
      xx += dx * dx; xy += dx * dy; yy += dy * dy;
    }
    const divisor = points.length - 1;
    return { x, y, xx: xx / divisor, xy: xy / divisor, yy: yy / divisor };
  }

  /** The squared distance of two Gaussians; for 2 × 2, tr √(S₁S₂) = √(tr S₁S₂ + 2 √det S₁S₂). */
  function frechetDistance(generated, reference) {
    const g = moments(generated), r = moments(reference);
    const traceOfProduct = g.xx * r.xx + 2 * g.xy * r.xy + g.yy * r.yy;
    const determinants = (g.xx * g.yy - g.xy ** 2) * (r.xx * r.yy - r.xy ** 2);
    const cross = Math.sqrt(Math.max(traceOfProduct + 2 * Math.sqrt(Math.max(determinants, 0)), 0));
    return (g.x - r.x) ** 2 + (g.y - r.y) ** 2 + g.xx + g.yy + r.xx + r.yy - 2 * cross;
  }

  /** exp E KL(p(y|x) ‖ p(y)), in one part. */
  function inceptionScore(logits) {
    const marginal = new Float64Array(logits[0].length);
    let negative = 0;
    for (const row of logits) {
      const top = Math.max(...row);
      const log = top + Math.log(row.reduce((sum, value) => sum + Math.exp(value - top), 0));
      row.forEach((value, index) => {
        const share = Math.exp(value - log);
        if (share > 0) negative += share * (value - log);
        marginal[index] += share / logits.length;
      });
    }
    const entropy = marginal.reduce((sum, share) => (share > 0 ? sum - share * Math.log(share) : sum), 0);
    return Math.exp(negative / logits.length + entropy);
  }

  /** Squared distances from each row to its k nearest other rows, ascending: k numbers a row. */
  function squaredRadii(x, y, k) {
    const nearest = new Float64Array(x.length * k).fill(Infinity);
    function insert(row, squared) {
      let place = row * k + k - 1;
      if (squared >= nearest[place]) return;
      for (; place > row * k && nearest[place - 1] > squared; place--) nearest[place] = nearest[place - 1];
      nearest[place] = squared;
    }
    for (let a = 0; a < x.length; a++) {
      for (let b = a + 1; b < x.length; b++) {
        const dx = x[a] - x[b], dy = y[a] - y[b];
        const squared = dx * dx + dy * dy;
        insert(a, squared);
        insert(b, squared);
      }
    }
    return nearest;
  }

  const column = (points, axis) => Float64Array.from(points, (point) => point[axis]);

  /** Precision and recall (border in), density and coverage (border out), by one pass over all pairs. */
  function neighbourhoods(generated, reference) {
    const gx = column(generated, 0), gy = column(generated, 1), rx = column(reference, 0), ry = column(reference, 1);
    const most = Math.max(NEAREST_K, DENSITY_K);
    const aroundG = squaredRadii(gx, gy, NEAREST_K), aroundR = squaredRadii(rx, ry, most);
    const real = new Uint8Array(gx.length), reached = new Uint8Array(rx.length), covered = new Uint8Array(rx.length);
    let pairs = 0;
    for (let g = 0; g < gx.length; g++) {
      const radiusG = aroundG[g * NEAREST_K + NEAREST_K - 1];
      for (let r = 0; r < rx.length; r++) {
        const dx = gx[g] - rx[r], dy = gy[g] - ry[r];
        const squared = dx * dx + dy * dy;
        if (squared <= aroundR[r * most + NEAREST_K - 1]) real[g] = 1;
        if (squared <= radiusG) reached[r] = 1;
        if (squared < aroundR[r * most + DENSITY_K - 1]) { pairs++; covered[r] = 1; }
      }
    }
    const mean = (flags) => flags.reduce((sum, flag) => sum + flag, 0) / flags.length;
    return {
      precision: mean(real), recall: mean(reached), density: pairs / (DENSITY_K * gx.length), coverage: mean(covered),
    };
  }

  /** The share of generated rows farther from their nearest training row than that one is from its own nearest. */
  function authenticShare(generated, training) {
    const x = column(training, 0), y = column(training, 1);
    const spacing = squaredRadii(x, y, 1);
    let authentic = 0;
    for (const [a, b] of generated) {
      let best = Infinity, at = 0;
      for (let row = 0; row < x.length; row++) {
        const squared = (a - x[row]) ** 2 + (b - y[row]) ** 2;
        if (squared < best) { best = squared; at = row; }
      }
      if (best > spacing[at]) authentic++;
    }
    return authentic / generated.length;
  }

  /** Cluster of each row: Lloyd's iterations from k-means++ centres. */
  function kmeans(points, count, random) {
    const x = column(points, 0), y = column(points, 1), size = points.length;
    const cx = new Float64Array(count), cy = new Float64Array(count), distance = new Float64Array(size).fill(Infinity);
    let next = Math.floor(random.uniform() * size);
    for (let cluster = 0; cluster < count; cluster++) {
      cx[cluster] = x[next]; cy[cluster] = y[next];
      let sum = 0;
      for (let row = 0; row < size; row++) {
        distance[row] = Math.min(distance[row], (x[row] - cx[cluster]) ** 2 + (y[row] - cy[cluster]) ** 2);
        sum += distance[row];
      }
      let left = random.uniform() * sum;
      for (next = 0; next < size - 1 && left >= distance[next]; next++) left -= distance[next];
    }
    const labels = new Int32Array(size);
    let before = Infinity;
    for (let iteration = 0; iteration < 100; iteration++) {
      const sums = new Float64Array(3 * count);
      let inertia = 0;
      for (let row = 0; row < size; row++) {
        let best = Infinity, at = 0;
        for (let cluster = 0; cluster < count; cluster++) {
          const dx = x[row] - cx[cluster], dy = y[row] - cy[cluster];
          const squared = dx * dx + dy * dy;
          if (squared < best) { best = squared; at = cluster; }
        }
        labels[row] = at;
        inertia += best;
        sums[3 * at] += x[row]; sums[3 * at + 1] += y[row]; sums[3 * at + 2]++;
      }
      if (before - inertia <= 1e-4 * before) break;
      before = inertia;
      for (let cluster = 0; cluster < count; cluster++) {
        const members = sums[3 * cluster + 2];
        if (members) { cx[cluster] = sums[3 * cluster] / members; cy[cluster] = sums[3 * cluster + 1] / members; }
      }
    }
    return labels;
  }

  const CLUSTERS = 20, ANGLES = 1001, MARGIN = 1e-10;
  const fScore = (beta, { precision, recall }) =>
    ((1 + beta ** 2) * precision * recall) / (beta ** 2 * precision + recall + 1e-10);
  const bestOf = (beta, curve) =>
    curve.reduce((best, point) => (fScore(beta, point) > fScore(beta, best) ? point : best), curve[0]);

  /** The PRD curve of one clustering, from the recall end to the precision end. */
  function prdCurve(generated, reference) {
    const labels = kmeans([...generated, ...reference], CLUSTERS, generator(0, 3));
    const q = new Float64Array(CLUSTERS), p = new Float64Array(CLUSTERS);
    labels.forEach((label, row) => {
      if (row < generated.length) q[label] += 1 / generated.length; else p[label] += 1 / reference.length;
    });
    return Array.from({ length: ANGLES }, (_, index) => {
      const slope = Math.tan(MARGIN + (index * (Math.PI / 2 - 2 * MARGIN)) / (ANGLES - 1));
      const precision = q.reduce((sum, share, cluster) => sum + Math.min(slope * p[cluster], share), 0);
      return { precision: Math.min(precision, 1), recall: Math.min(precision / slope, 1) };
    });
  }

  /** All scores of generated against as many reference points, [x, y] each. Authentic only where training is given. */
  function measure(generated, reference, logits, training) {
    const curve = prdCurve(generated, reference);
    return {
      frechet_distance: frechetDistance(generated, reference),
      inception_score: inceptionScore(logits),
      ...neighbourhoods(generated, reference),
      prd_curve: curve,
      prd_f8: fScore(8, bestOf(8, curve)),
      prd_f1_8: fScore(1 / 8, bestOf(1 / 8, curve)),
      ...(training ? { authentic: authenticShare(generated, training) } : {}),
    };
  }

  function step(knobs) {
    const sample = draw(knobs);
    const { generated, reference, training } = sample;
    return { sample, measured: measure(generated, reference, logPosteriors(generated), training) };
  }

  const FIRST_SEED = 1000000; // away from the seeds of the slider
  const perfectBySize = new Map();

  /** The mean of each score that a perfect model gets with as many points. */
  function perfect(size) {
    if (!perfectBySize.has(size)) {
      const fresh = (index) => ({
        modes_dropped: 0, modes_invented: 0, blur: 1, noise: 0, copies: 0, num_points: size, seed: FIRST_SEED + index,
      });
      const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
      const repeats = Math.min(Math.max(Math.floor(4000 / size), 2), 16);
      const steps = Array.from({ length: repeats }, (_, index) => step(fresh(index)).measured);
      const found = Object.fromEntries(SCORES.map(({ key }) => [key, mean(steps.map((one) => one[key]))]));
      // One distance scatters by about its own size.
      found.frechet_distance = mean(Array.from({ length: 100 }, (_, index) =>
        frechetDistance(realPoints(fresh(index), 0).points, realPoints(fresh(index), 1).points)));
      perfectBySize.set(size, found);
    }
    return perfectBySize.get(size);
  }

  // Drawings, as text: class names and attributes alone, so that the policy of the page holds

  const MAX_DRAWN = 1000; // points of a side: more would be ink
  const WIDE = 440;
  const scale = WIDE / (2 * HALF);
  const round = (value) => Math.round(10 * value) / 10;
  const place = ([x, y]) => [round((x + HALF) * scale), round((HALF - y) * scale)];
  // Lines without length and with round ends are dots.
  const STROKES = { real: "h0", generated: "m-2-2l4 4m0-4l-4 4", copy: "m-3-3h6v6h-6z" };

  function svg(width, height, title, told, content) {
    const words = `<title>${title}</title><desc>${told}</desc>`;
    return `<svg class="plot" viewBox="0 0 ${width} ${height}" role="img">${words}${content}</svg>`;
  }

  function cloud(kind, points) {
    const inside = points.filter(([x, y]) => Math.abs(x) < HALF && Math.abs(y) < HALF);
    const drawn = inside.map((point) => `M${place(point).join(" ")}${STROKES[kind]}`).join("");
    return `<path class="cloud ${kind}" d="${drawn}"/>`;
  }

  function circle(x, y, radius, kind) {
    const reach = round(radius * Math.SQRT1_2);
    const cross = `<path class="cross" d="M${x - reach} ${y - reach}l${2 * reach} ${2 * reach}"/>`;
    return `<circle class="mode ${kind}" cx="${x}" cy="${y}" r="${radius}"/>${kind === "dropped" ? cross : ""}`;
  }

  const legend = (entries) => `<ul class="legend-list">${entries
    .map(([mark, words]) => `<li><svg class="legend" viewBox="-8 -8 16 16" aria-hidden="true">${mark}</svg> ${words}</li>`)
    .join("")}</ul>`;

  function scatter(knobs, { generated, reference, copied }) {
    const sides = { real: reference.slice(0, MAX_DRAWN), generated: [], copy: [] };
    generated.slice(0, MAX_DRAWN).forEach((point, row) => sides[copied.has(row) ? "copy" : "generated"].push(point));
    const which = knobs.against_training ? "training" : "held out";
    const names = { real: `real (${which})`, generated: "generated", copy: "generated: a copy" };
    const told = [], marks = [], entries = [];
    for (const [kind, points] of Object.entries(sides)) {
      if (!points.length) continue;
      marks.push(cloud(kind, points));
      told.push(`${points.length} ${names[kind]}`);
      entries.push([`<path class="cloud ${kind}" transform="scale(1.6)" d="M0 0${STROKES[kind]}"/>`, names[kind]]);
    }
    if (generated.length > MAX_DRAWN) told.push(`${MAX_DRAWN} of ${generated.length} on either side are drawn`);
    const radius = round(Math.sqrt(-2 * Math.log(0.05)) * STD * scale); // holds 95 % of a mode
    const ringed = (centre, kind) => circle(...place(centre), radius, kind);
    const modes = REAL_CENTRES.map((centre, mode) => ringed(centre, mode < knobs.modes_dropped ? "dropped" : ""));
    modes.push(...INVENTED_CENTRES.slice(0, knobs.modes_invented).map((centre) => ringed(centre, "invented")));
    entries.push([circle(0, 0, 6, ""), "a real mode (95 %)"]);
    for (const [kind, number] of [["dropped", knobs.modes_dropped], ["invented", knobs.modes_invented]]) {
      if (!number) continue;
      entries.push([circle(0, 0, 6, kind), `${kind} mode`]);
      told.push(`${number} modes ${kind}`);
    }
    const frame = `<rect class="frame" x="0.5" y="0.5" width="${WIDE - 1}" height="${WIDE - 1}" rx="6"/>`;
    const content = frame + modes.join("") + marks.join("");
    return svg(WIDE, WIDE, "Real and generated points", `${told.join("; ")}.`, content) + legend(entries);
  }

  const LEFT = 58, TOP = 12, SIDE = 276;
  const atX = (value) => round(LEFT + SIDE * Math.min(Math.max(value, 0), 1));
  const atY = (value) => round(TOP + SIDE * (1 - Math.min(Math.max(value, 0), 1)));
  const PLOT = [LEFT + SIDE + 16, TOP + SIDE + 44];
  const MARKS = {
    circle: (x, y, name = "mark") => `<circle class="${name}" cx="${x}" cy="${y}" r="5.5"/>`,
    square: (x, y, name = "mark") => `<rect class="${name}" x="${x - 5}" y="${y - 5}" width="10" height="10"/>`,
  };

  function axes(xLabel, yLabel) {
    const middle = TOP + SIDE / 2;
    const grid = [0, 0.25, 0.5, 0.75, 1].map((tick) =>
      `<path class="grid" d="M${atX(tick)} ${TOP}V${TOP + SIDE}M${LEFT} ${atY(tick)}H${LEFT + SIDE}"/>` +
      `<text x="${atX(tick)}" y="${TOP + SIDE + 17}" text-anchor="middle">${tick}</text>` +
      `<text x="${LEFT - 7}" y="${atY(tick) + 4}" text-anchor="end">${tick}</text>`).join("");
    return (
      `${grid}<path class="axis" d="M${LEFT} ${TOP}V${TOP + SIDE}H${LEFT + SIDE}"/>` +
      `<text class="label" x="${LEFT + SIDE / 2}" y="${TOP + SIDE + 36}" text-anchor="middle">${xLabel}</text>` +
      `<g transform="rotate(-90 11 ${middle})"><text class="label" x="11" y="${middle}" text-anchor="middle">${yLabel}` +
      "</text></g>"
    );
  }

  function prdPlot(measured) {
    const curve = measured.prd_curve;
    const line = [];
    for (const point of curve) {
      const [x, y] = [atX(point.recall), atY(point.precision)];
      const last = line[line.length - 1];
      if (!last || Math.hypot(x - last[0], y - last[1]) >= 1.5) line.push([x, y]);
    }
    line.push([atX(curve[ANGLES - 1].recall), atY(curve[ANGLES - 1].precision)]);
    const bottom = TOP + SIDE;
    const path = line.map((point) => point.join(" ")).join("L");
    const marks = [["circle", 8], ["square", 1 / 8]].map(([shape, beta]) => {
      const best = bestOf(beta, curve);
      return MARKS[shape](atX(best.recall), atY(best.precision));
    }).join("");
    const content =
      axes("recall", "precision") +
      `<path class="area" d="M${line[0][0]} ${bottom}L${path}L${line[line.length - 1][0]} ${bottom}Z"/>` +
      `<path class="line" d="M${path}"/>${marks}`;
    const [f8, f1_8] = [measured.prd_f8.toFixed(2), measured.prd_f1_8.toFixed(2)];
    const told = `F8 ${f8}, F1/8 ${f1_8}. The ideal is the upper right corner.`;
    return svg(...PLOT, "PRD curve, one clustering", told, content) + legend([
      [MARKS.circle(0, 0), `F8, weighs recall: ${f8}`],
      [MARKS.square(0, 0), `F1/8, weighs precision: ${f1_8}`],
    ]);
  }

  /** Fidelity over diversity; hollow for a perfect model, once its scores are there. */
  function plane(measured, ideal) {
    let marks = "";
    const told = [], entries = [];
    for (const [shape, fidelity, diversity] of [["circle", "precision", "recall"], ["square", "density", "coverage"]]) {
      if (ideal) marks += MARKS[shape](atX(ideal[diversity]), atY(ideal[fidelity]), "mark hollow");
      const [x, y] = [atX(measured[diversity]), atY(measured[fidelity])];
      marks += MARKS[shape](x, y);
      if (measured[fidelity] > 1.05) marks += `<path class="beyond" d="M${x + 12} ${y + 10}v-12m-4 4l4-4l4 4"/>`;
      told.push(`${fidelity} ${measured[fidelity].toFixed(2)}, ${diversity} ${measured[diversity].toFixed(2)}`);
      entries.push([MARKS[shape](0, 0), told[told.length - 1]]);
    }
    entries.push([MARKS.circle(0, 0, "mark hollow"), "hollow: a perfect model"]);
    const content = axes("diversity: recall, coverage", "fidelity: precision, density") + marks;
    return svg(...PLOT, "Fidelity and diversity", `${told.join("; ")}.`, content) + legend(entries);
  }

  // The page

  const element = (id) => document.getElementById(id);
  const numbers = ["modes_dropped", "modes_invented", "blur", "noise", "copies", "num_points", "seed"];
  const story = element("story");

  function readKnobs() {
    const knobs = Object.fromEntries(numbers.map((name) => [name, Number(element(name).value)]));
    return { ...knobs, against_training: element("against_training").checked };
  }

  function setKnobs(knobs) {
    for (const name of numbers) element(name).value = knobs[name];
    element("against_training").checked = knobs.against_training;
  }

  /** Only what changed is written, so that a reader of the screen tells no more. */
  function write(cell, text) {
    if (cell.textContent !== text) cell.textContent = text;
  }

  function showPerfect(knobs, measured) {
    const scores = perfect(knobs.num_points);
    for (const { key } of SCORES) write(element(`perfect-${key}`), scores[key].toFixed(3));
    element("plane").innerHTML = plane(measured, scores);
  }

  let waiting = 0;
  function show() {
    const knobs = readKnobs();
    for (const name of numbers) write(element(`${name}-value`), String(knobs[name]));
    clearTimeout(waiting);
    const start = performance.now();
    let found;
    try {
      found = step(knobs);
    } catch (problem) {
      write(element("problem"), problem.message);
      element("problem").hidden = false;
      element("shown").hidden = true;
      return;
    }
    element("problem").hidden = true;
    element("shown").hidden = false;
    for (const { key } of SCORES) write(element(`score-${key}`), (found.measured[key] + 0).toFixed(3));
    element("scatter").innerHTML = scatter(knobs, found.sample);
    element("prd").innerHTML = prdPlot(found.measured);
    write(element("milliseconds"), (performance.now() - start).toFixed(0));
    // A perfect model takes several steps, so it waits until the slider rests.
    if (perfectBySize.has(knobs.num_points)) {
      showPerfect(knobs, found.measured);
    } else {
      for (const { key } of SCORES) write(element(`perfect-${key}`), "…");
      element("plane").innerHTML = plane(found.measured);
      waiting = setTimeout(showPerfect, 200, knobs, found.measured);
    }
  }

  let asked = false;
  function soon() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; show(); });
  }

  function tell() {
    const chosen = STORIES[story.selectedIndex];
    write(element("what"), chosen.what);
    setKnobs(chosen.knobs);
    show();
  }

  for (const name of [...numbers, "against_training"]) element(name).addEventListener("input", soon);
  story.addEventListener("input", tell);
  element("playground-form").addEventListener("submit", (event) => event.preventDefault());
  tell(); // a browser that keeps the sliders of the last visit keeps them against the story

  window.genmetrics = { measure, draw, step, perfect };
})();
