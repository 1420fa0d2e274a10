"use strict";
// Start reading at `show`: everything on the page is drawn anew from `state` by it.

const review = JSON.parse(document.getElementById("review").textContent);
const positions = review.positions;
const COLUMNS = "ABCDEFGHJKLMNOPQRST";
const OWNERSHIP = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+";
const SIDE = { B: "Black", W: "White" };
const state = { turn: 0, moves: true, territory: false, numbers: false, line: null };

const element = id => document.getElementById(id);

function make(name, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function tag(name, options = {}, ...children) {
  const node = Object.assign(document.createElement(name), options);
  node.append(...children);
  return node;
}

// A GTP vertex as column and row from the top left; null for a pass.
function place(vertex) {
  const x = COLUMNS.indexOf(vertex[0]);
  const y = review.ySize - Number(vertex.slice(1));
  return vertex.toLowerCase() === "pass" || x < 0 || !(y >= 0) ? null : { x, y };
}

const percent = share => `${(100 * share).toFixed(1)}\u00a0%`;
const score = lead => Math.abs(lead) < 0.05 ? "even" : `${lead > 0 ? "B" : "W"}+${Math.abs(lead).toFixed(1)}`;
const short = count => count < 1000 ? `${count}` : count < 99950 ? `${(count / 1000).toFixed(1)}k` : `${Math.round(count / 1000)}k`;
// From the side of whoever is to move: of two of Black's numbers the better one for White is the smaller.
const forSide = (side, winrate) => side === "B" ? winrate : 1 - winrate;

// How much worse a move is than the best one, in points: blue, green, yellow, red.
function shade(lost) {
  const hues = [[0, 205], [0.5, 150], [1.5, 95], [3, 50], [6, 10]];
  for (let i = 1; i < hues.length; i++) {
    const [from, low] = hues[i - 1], [to, high] = hues[i];
    if (lost <= to) return `hsl(${low + (high - low) * (Math.max(lost, from) - from) / (to - from)} 70% 52%)`;
  }
  return "hsl(4 70% 52%)";
}

function lostBy(position, move) {
  const best = position.evaluation.moves[0];
  return (position.toPlay === "B" ? 1 : -1) * (best.score - move.score);
}

// ---------------------------------------------------------------- the board

const board = element("board");
const EDGE = 1.25;

function drawBoard() {
  const { xSize, ySize } = review, position = positions[state.turn];
  board.replaceChildren();
  board.setAttribute("viewBox", `${-EDGE} ${-EDGE} ${xSize - 1 + 2 * EDGE} ${ySize - 1 + 2 * EDGE}`);
  make("rect", { x: -EDGE, y: -EDGE, width: xSize - 1 + 2 * EDGE, height: ySize - 1 + 2 * EDGE, fill: "var(--wood)" }, board);
  drawLines(xSize, ySize);
  if (state.territory) drawTerritory(position, false);
  for (let point = 0; point < xSize * ySize; point++) {
    if (position.stones[point] !== ".") drawStone(point % xSize, Math.floor(point / xSize), position.stones[point] === "X" ? "B" : "W");
  }
  if (state.territory) drawTerritory(position, true);
  if (state.numbers) drawNumbers(position);
  else drawLastMove(position);
  if (state.line) drawLine(position, state.line);
  else if (state.moves) drawCandidates(position);
  const placed = positions[state.turn + 1];
  if (placed && !state.line) drawNext(placed);
}

function drawLines(xSize, ySize) {
  const lines = make("g", { stroke: "var(--wood-line)", "stroke-width": .035, "stroke-linecap": "square" }, board);
  for (let x = 0; x < xSize; x++) make("line", { x1: x, y1: 0, x2: x, y2: ySize - 1 }, lines);
  for (let y = 0; y < ySize; y++) make("line", { x1: 0, y1: y, x2: xSize - 1, y2: y }, lines);
  for (const x of stars(xSize)) for (const y of stars(ySize)) {
    const isSide = x === (xSize - 1) / 2 || y === (ySize - 1) / 2;
    if (!isSide || Math.min(xSize, ySize) > 13 || (x === (xSize - 1) / 2 && y === (ySize - 1) / 2))
      make("circle", { cx: x, cy: y, r: .1, fill: "var(--wood-line)" }, board);
  }
  const names = make("g", { fill: "var(--wood-line)", "font-size": .42, "text-anchor": "middle", opacity: .85 }, board);
  for (let x = 0; x < xSize; x++) for (const y of [-.72, ySize - .28]) make("text", { x, y: y + .02 }, names, COLUMNS[x]);
  for (let y = 0; y < ySize; y++) for (const x of [-.85, xSize - .15]) make("text", { x, y: y + .15 }, names, ySize - y);
}

function stars(size) {
  if (size < 7) return [];
  const near = size < 13 ? 2 : 3, points = [near, size - 1 - near];
  return size % 2 ? [near, (size - 1) / 2, size - 1 - near] : points;
}

function drawStone(x, y, side, opacity = 1) {
  const stone = make("g", { opacity }, board);
  make("circle", { cx: x + .02, cy: y + .04, r: .47, fill: "#0004" }, stone);
  make("circle", { cx: x, cy: y, r: .465, fill: side === "B" ? "#14161a" : "#f6f4ef", stroke: side === "B" ? "#000" : "#8d8a83",
    "stroke-width": .02 }, stone);
  make("circle", { cx: x - .13, cy: y - .15, r: .17, fill: side === "B" ? "#ffffff1c" : "#ffffffc0" }, stone);
}

function drawTerritory(position, overStones) {
  const letters = position.evaluation && position.evaluation.ownership;
  if (!letters) return;
  const middle = (OWNERSHIP.length - 1) / 2, layer = make("g", { "class": "territory" }, board);
  for (let point = 0; point < letters.length; point++) {
    const owned = OWNERSHIP.indexOf(letters[point]) / middle - 1, stone = position.stones[point];
    const x = point % review.xSize, y = Math.floor(point / review.xSize);
    const fill = owned > 0 ? "#000" : "#fff";
    if (!overStones && stone === "." && Math.abs(owned) > .05) {
      make("rect", { x: x - .5, y: y - .5, width: 1, height: 1, fill, opacity: (.6 * Math.abs(owned)).toFixed(2) }, layer);
    } else if (overStones && stone !== "." && (stone === "X" ? -owned : owned) > .2) {
      // A stone on the other side's ground.
      make("rect", { x: x - .2, y: y - .2, width: .4, height: .4, fill, opacity: Math.min(1, .3 + Math.abs(owned)).toFixed(2) }, layer);
    }
  }
}

function drawLastMove(position) {
  const at = position.played && place(position.played);
  if (at) make("circle", { cx: at.x, cy: at.y, r: .25, fill: "none", stroke: position.player === "B" ? "#fff" : "#000",
    "stroke-width": .07, "class": "last" }, board);
}

function drawNumbers(position) {
  const numbers = new Map();
  for (let turn = 1; turn <= state.turn; turn++) numbers.set(positions[turn].played, turn);
  for (const [vertex, turn] of numbers) {
    const at = place(vertex);
    const stone = at && position.stones[at.y * review.xSize + at.x];
    if (at && stone !== ".") drawLabel(at, turn, stone === "X" ? "#fff" : "#000", turn === state.turn);
  }
}

function drawLabel(at, label, fill, isBold) {
  const text = `${label}`;
  make("text", { x: at.x, y: at.y + .15, fill, "font-size": text.length > 2 ? .36 : .44, "text-anchor": "middle",
    "font-weight": isBold ? 800 : 500 }, board, text);
}

const isNarrow = matchMedia("(max-width: 820px)");

// The candidates that have a place on the board and more than a few visits.
function shownMoves(position) {
  const moves = position.evaluation ? position.evaluation.moves : [], most = Math.max(...moves.map(move => move.visits), 1);
  return moves.filter((move, index) => place(move.move) && (index === 0 || move.visits >= most / 200));
}

function drawCandidates(position) {
  if (!position.evaluation) return;
  const moves = position.evaluation.moves, most = Math.max(...moves.map(move => move.visits), 1);
  // The best on top.
  for (const move of shownMoves(position).reverse()) {
    const at = place(move.move), index = moves.indexOf(move);
    const group = make("g", { "class": "candidate", "data-move": move.move }, board);
    group.style.cursor = "pointer";
    make("circle", { cx: at.x, cy: at.y, r: .475, fill: shade(lostBy(position, move)),
      opacity: index === 0 ? .97 : (.55 + .4 * Math.sqrt(move.visits / most)).toFixed(2),
      stroke: index === 0 ? "#fff" : "none", "stroke-width": .05 }, group);
    const lines = isNarrow.matches && review.xSize > 13
      ? [[.15, .46, 700, (100 * forSide(position.toPlay, move.winrate)).toFixed(0)]]
      : [[-.13, .33, 700, (100 * forSide(position.toPlay, move.winrate)).toFixed(1)], [.13, .25, 500, score(move.score)], [.36, .23, 400, short(move.visits)]];
    for (const [dy, size, weight, text] of lines)
      make("text", { x: at.x, y: at.y + dy, "font-size": size, "font-weight": weight, "text-anchor": "middle", fill: "#08121c" }, group, text);
  }
}

// What was really played next.
function drawNext(next) {
  const at = place(next.played);
  if (at) make("circle", { cx: at.x, cy: at.y, r: .475, fill: "none", stroke: next.player === "B" ? "#000" : "#fff",
    "stroke-width": .06, "stroke-dasharray": ".18 .12", "class": "next" }, board);
}

function drawLine(position, line) {
  let side = position.toPlay;
  const seen = new Set();
  line.forEach((vertex, index) => {
    const at = place(vertex);
    if (at && !seen.has(vertex)) {
      seen.add(vertex);
      drawStone(at.x, at.y, side, .93);
      drawLabel(at, index + 1, side === "B" ? "#fff" : "#000", true);
    }
    side = side === "B" ? "W" : "B";
  });
}

function vertexUnder(event) {
  const matrix = board.getScreenCTM().inverse(), at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
  return `${COLUMNS[Math.round(at.x)]}${review.ySize - Math.round(at.y)}`;
}

// By points and not by what is drawn there: a line that is shown hides the other candidates, to which one may go on.
board.addEventListener("pointermove", event => {
  if (event.pointerType !== "mouse" || !state.moves) return;
  const vertex = vertexUnder(event), move = shownMoves(positions[state.turn]).find(each => each.move === vertex);
  preview(move ? move.pv : null);
});
// A finger leaves with each tap, before its click.
board.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") preview(null); });
board.addEventListener("click", event => {
  const vertex = vertexUnder(event);
  // On a stone: to the move that placed it. Else a finger's way to a line: there is no hovering.
  const turn = lastTurnAt(vertex);
  if (turn) go(turn);
  else if (positions[state.turn].evaluation) {
    const move = positions[state.turn].evaluation.moves.find(each => each.move === vertex);
    preview(move && state.line !== move.pv ? move.pv : null);
  }
});

function lastTurnAt(vertex) {
  const at = place(vertex);
  if (!at || positions[state.turn].stones[at.y * review.xSize + at.x] === ".") return 0;
  for (let turn = state.turn; turn > 0; turn--) if (positions[turn].played === vertex) return turn;
  return 0;
}

// ---------------------------------------------------------------- the graph

const graph = element("graph");
const PLOT = { left: 38, right: 14, top: 8, bottom: 20, gap: 12 };

function graphX(turn) {
  const width = graph.clientWidth - PLOT.left - PLOT.right;
  return PLOT.left + width * (positions.length > 1 ? turn / (positions.length - 1) : 0);
}

function drawGraph() {
  const height = graph.clientHeight, width = graph.clientWidth;
  if (!width) return;
  graph.replaceChildren();
  graph.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const both = height - PLOT.top - PLOT.bottom - PLOT.gap, half = both * .55;
  const scores = positions.filter(each => each.evaluation).map(each => Math.abs(each.evaluation.score));
  const most = niceScore(Math.max(2, ...scores));
  const winrate = share => PLOT.top + half * (1 - share);
  const low = PLOT.top + half + PLOT.gap, lead = points => low + (both - half) * (1 - points / most) / 2;
  make("rect", { x: PLOT.left, y: PLOT.top, width: width - PLOT.left - PLOT.right, height: half, fill: "var(--graph-white)" }, graph);
  drawArea(winrate);
  axis([[1, "100 %"], [.5, "50 %"], [0, "0"]].map(([value, text]) => [winrate(value), text]), width);
  axis([[most, `B+${most}`], [0, "even"], [-most, `W+${most}`]].map(([value, text]) => [lead(value), text]), width);
  plot(each => lead(each.score), "var(--score)");
  const every = niceTurns(positions.length, width);
  for (let turn = 0; turn < positions.length; turn += every)
    make("text", { x: graphX(turn), y: height - 5, "text-anchor": "middle" }, graph, turn);
  for (const turn of review.mistakes) {
    const after = positions[turn];
    if (after.evaluation) make("circle", { cx: graphX(turn), cy: lead(after.evaluation.score), r: 4,
      fill: after.player === "B" ? "#111" : "#fff", stroke: "var(--bad)", "stroke-width": 2 }, graph);
  }
  make("line", { id: "cursor", x1: graphX(state.turn), x2: graphX(state.turn), y1: PLOT.top, y2: height - PLOT.bottom, stroke: "var(--accent)",
    "stroke-width": 1.5 }, graph);
}

const niceScore = value => [2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300].find(each => each >= value) || 400;

function niceTurns(count, width) {
  return [5, 10, 20, 25, 50, 100, 200].find(each => count / each * 42 < width) || 500;
}

function axis(marks, width) {
  for (const [y, text] of marks) {
    make("line", { x1: PLOT.left, x2: width - PLOT.right, y1: y, y2: y, stroke: "var(--soft)", "stroke-opacity": .35 }, graph);
    make("text", { x: PLOT.left - 5, y: y + 4, "text-anchor": "end" }, graph, text);
  }
}

// Runs of turns that were analysed: between them the lines are broken.
function runs() {
  const found = [];
  positions.forEach((position, turn) => {
    if (!position.evaluation) return;
    if (turn === 0 || !positions[turn - 1].evaluation) found.push([]);
    found[found.length - 1].push(turn);
  });
  return found;
}

function drawArea(y) {
  for (const run of runs()) {
    const line = run.map(turn => `${graphX(turn).toFixed(1)},${y(positions[turn].evaluation.winrate).toFixed(1)}`);
    const from = graphX(run[0]).toFixed(1), to = graphX(run[run.length - 1]).toFixed(1);
    make("polygon", { points: [`${from},${y(0)}`, ...line, `${to},${y(0)}`].join(" "), fill: "var(--graph-black)" }, graph);
    make("polyline", { points: line.join(" "), fill: "none", stroke: "var(--accent)", "stroke-width": 1.5, "class": "winrates" }, graph);
  }
}

function plot(y, stroke) {
  for (const run of runs()) {
    const points = run.map(turn => `${graphX(turn).toFixed(1)},${y(positions[turn].evaluation).toFixed(1)}`).join(" ");
    make("polyline", { points, fill: "none", stroke, "stroke-width": 1.75, "stroke-linejoin": "round" }, graph);
  }
}

function turnUnder(event) {
  const box = graph.getBoundingClientRect(), width = box.width - PLOT.left - PLOT.right;
  return Math.round((event.clientX - box.left - PLOT.left) / width * (positions.length - 1));
}

graph.addEventListener("pointerdown", event => { graph.setPointerCapture(event.pointerId); go(turnUnder(event)); });
graph.addEventListener("pointermove", event => { if (event.buttons) go(turnUnder(event)); });

// ---------------------------------------------------------------- words and lists

function drawWords() {
  const position = positions[state.turn], evaluation = position.evaluation;
  const last = positions.length - 1;
  element("where").textContent = `${state.turn} / ${last}`;
  for (const id of ["first", "back", "back10"]) element(id).disabled = state.turn === 0;
  for (const id of ["last", "forward", "forward10"]) element(id).disabled = state.turn === last;
  element("bar").classList.toggle("unknown", !evaluation);
  element("bar-black").style.width = evaluation ? `${100 * evaluation.winrate}%` : "50%";
  const move = position.player ? `Move ${state.turn}: ${SIDE[position.player]} ${position.played}. ` : "The start. ";
  element("verdict").textContent = move + (evaluation
    ? `Black ${percent(evaluation.winrate)}, ${score(evaluation.score)}, ${SIDE[position.toPlay]} to play.`
    : "Not analysed.");
  drawCost(position);
  document.querySelectorAll("#mistakes button").forEach(each => each.classList.toggle("here", Number(each.dataset.turn) - 1 === state.turn));
}

function drawCost(position) {
  const cost = element("cost");
  cost.textContent = "";
  cost.className = "";
  if (position.pointsLost === null || position.pointsLost === undefined) return;
  const before = positions[state.turn - 1].evaluation.moves[0];
  const isBest = before && before.move === position.played;
  const better = before && !isBest ? ` ${before.move} was better.` : "";
  if (isBest || (position.pointsLost < .3 && position.winrateLost < .015)) {
    cost.textContent = isBest ? "The best move." : "As good as the best.";
    return;
  }
  // Less than nothing is noise.
  cost.textContent = `It cost ${Math.max(0, position.pointsLost).toFixed(1)} points and ${percent(Math.max(0, position.winrateLost))} of win rate.${better}`;
  cost.classList.toggle("bad", position.isMistake);
}

function drawMoves() {
  const position = positions[state.turn], side = SIDE[position.toPlay];
  const [head, body] = [document.querySelector("#moves thead"), document.querySelector("#moves tbody")];
  const next = positions[state.turn + 1];
  element("moves-heading").textContent = `Best moves for ${side}` + (next ? `, who played ${next.played}` : "");
  if (next && next.player !== position.toPlay) element("moves-heading").textContent = `Best moves for ${side}`;
  head.replaceChildren(tag("tr", {}, ...[["move", ""], [`${side} wins`, ""], ["score", ""], ["visits", ""], ["prior", "prior"], ["line", "pv"]]
    .map(([textContent, className]) => tag("th", { textContent, className }))));
  const moves = position.evaluation ? position.evaluation.moves : [];
  body.replaceChildren(...moves.map(move => {
    const dot = tag("span", { className: "dot" });
    dot.style.background = shade(lostBy(position, move));
    const row = tag("tr", { tabIndex: 0, className: next && next.played === move.move ? "played" : "" },
      tag("td", {}, dot, move.move), tag("td", { textContent: percent(forSide(position.toPlay, move.winrate)) }),
      tag("td", { textContent: score(move.score) }), tag("td", { textContent: short(move.visits) }),
      tag("td", { textContent: percent(move.prior), className: "prior" }), tag("td", { textContent: move.pv.join(" "), className: "pv" }));
    row.dataset.move = move.move;
    row.addEventListener("pointerenter", event => { if (event.pointerType === "mouse") preview(move.pv); });
    row.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") preview(null); });
    row.addEventListener("focus", () => { if (row.matches(":focus-visible")) preview(move.pv); });
    row.addEventListener("blur", () => preview(null));
    row.addEventListener("click", () => preview(move.pv));
    return row;
  }));
}

function listMistakes() {
  const list = element("mistakes");
  for (const turn of review.mistakes) {
    const after = positions[turn], best = positions[turn - 1].evaluation.moves[0];
    const button = tag("button", {}, tag("span", { className: `stone ${after.player}` }), `${turn}`,
      tag("span", { textContent: after.played + (best && best.move !== after.played ? ` → ${best.move}` : "") }),
      tag("span", { className: "lost", textContent: `−${Math.max(0, after.pointsLost).toFixed(1)} · −${(100 * Math.max(0, after.winrateLost)).toFixed(0)} %` }));
    button.dataset.turn = turn;
    button.title = `Move ${turn}: ${SIDE[after.player]} ${after.played}. Shows the position before it.`;
    button.addEventListener("click", () => go(turn - 1));
    list.append(tag("li", {}, button));
  }
  if (!review.mistakes.length) list.append(tag("li", { textContent: "None that the engine is sure of." }));
}

function writeHead() {
  element("title").textContent = review.title;
  element("facts").textContent = [review.title === review.event ? "" : review.event, review.date,
    review.result && `result ${review.result}`, `${review.xSize}×${review.ySize}`, `${review.rules} rules`, `komi ${review.komi}`]
    .filter(Boolean).join(" · ");
  element("notes").hidden = !review.notes.length;
  element("notes").append(...review.notes.map(textContent => tag("li", { textContent })));
  const visits = positions.filter(each => each.evaluation).map(each => each.evaluation.visits).sort((a, b) => a - b);
  element("made").textContent = `KataGo ${review.engine}, ${visits[Math.floor(visits.length / 2)] || 0} visits a position · katago-agent ${review.version}`;
}

// ---------------------------------------------------------------- going about

function show() {
  drawBoard();
  drawGraph();
  drawWords();
  drawMoves();
}

function go(turn) {
  const to = Math.max(0, Math.min(positions.length - 1, turn));
  if (to === state.turn) return;
  state.turn = to;
  state.line = null;
  show();
  clearTimeout(addressing);
  addressing = setTimeout(tellAddress, ADDRESS_AFTER_MS);
}

// The address can be kept or sent on; replacing it leaves the back button alone. Safari refuses it after 100 times in
// half a minute and Firefox after 200 in ten seconds, both by an exception (whatwg/html#11844); in a frame without an
// address of its own every browser does. So it waits until one stays somewhere, and the page does without.
const ADDRESS_AFTER_MS = 400;
let addressing = 0;

function tellAddress() {
  try {
    history.replaceState(null, "", `#${state.turn}`);
  } catch { /* nothing is lost but the address */ }
}

function preview(line) {
  if (state.line === line) return;
  state.line = line;
  document.querySelectorAll("#moves tbody tr").forEach(row => {
    const moves = positions[state.turn].evaluation.moves;
    row.classList.toggle("shown", line !== null && moves.find(move => move.move === row.dataset.move).pv === line);
  });
  drawBoard();
}

// The next or previous mistake in the order of the game, shown before it was made.
function goMistake(direction) {
  const turns = review.mistakes.map(turn => turn - 1).sort((a, b) => direction * (a - b));
  const found = turns.find(turn => direction * (turn - state.turn) > 0);
  if (found !== undefined) go(found);
}

function toggle(name, box) {
  state[name] = !state[name];
  element(box).checked = state[name];
  drawBoard();
}

const KEYS = {
  ArrowLeft: () => go(state.turn - 1), ArrowRight: () => go(state.turn + 1),
  PageUp: () => go(state.turn - 10), PageDown: () => go(state.turn + 10),
  Home: () => go(0), End: () => go(positions.length - 1),
  n: () => goMistake(1), p: () => goMistake(-1),
  m: () => toggle("moves", "show-moves"), t: () => toggle("territory", "show-territory"), u: () => toggle("numbers", "show-numbers"),
  Escape: () => preview(null),
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const [id, turns] of [["back", -1], ["back10", -10], ["forward", 1], ["forward10", 10]])
  element(id).addEventListener("click", () => go(state.turn + turns));
element("first").addEventListener("click", () => go(0));
element("last").addEventListener("click", () => go(positions.length - 1));
element("show-moves").addEventListener("change", () => toggle("moves", "show-moves"));
element("show-territory").addEventListener("change", () => toggle("territory", "show-territory"));
element("show-numbers").addEventListener("change", () => toggle("numbers", "show-numbers"));
new ResizeObserver(drawGraph).observe(graph);
isNarrow.addEventListener("change", drawBoard);
addEventListener("hashchange", () => go(Number(location.hash.slice(1)) || 0));

// A browser that reloads keeps the boxes as they were left.
for (const name of ["moves", "territory", "numbers"]) element(`show-${name}`).checked = state[name];
writeHead();
listMistakes();
state.turn = Math.max(0, Math.min(positions.length - 1, Number(location.hash.slice(1)) || 0));
show();
