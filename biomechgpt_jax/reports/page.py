"""The frame, style sheet and script of a report: plain HTML, CSS and JavaScript without any external resource."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

STYLE = """
:root { --ink: #1c2733; --muted: #566371; --line: #e2e6ea; --paper: #ffffff; --wash: #f6f8f9; --blue: #0072b2;
  --vermilion: #d55e00; --good: #00704f; --bad: #b23c00; color-scheme: light;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 16px/1.55 var(--sans); color: var(--ink); background: var(--paper); }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 52px; padding-bottom: 8px; }
h1 { font-size: clamp(28px, 4.4vw, 42px); line-height: 1.12; letter-spacing: -0.022em; margin: 0 0 12px; }
h2 { font-size: 24px; line-height: 1.25; letter-spacing: -0.014em; margin: 0 0 6px; }
h3 { font-size: 16px; line-height: 1.35; margin: 0 0 2px; }
section { padding: 36px 0 0; margin-top: 36px; border-top: 1px solid var(--line); }
p { margin: 0 0 14px; max-width: 68ch; }
p.lead { color: var(--muted); margin-bottom: 22px; }
header p { font-size: 18px; line-height: 1.5; color: var(--muted); }
.small { font-size: 13.5px; line-height: 1.45; color: var(--muted); }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 18px 0 0; font-size: 14px; }
nav a { color: var(--blue); text-decoration: none; padding: 2px 0; }
nav a:hover { text-decoration: underline; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: var(--sans); }
table { border-collapse: collapse; font-size: 14px; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px 8px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; color: var(--muted); font-size: 13px; white-space: nowrap;
  vertical-align: bottom; }
td.num, th.num { text-align: right; white-space: nowrap; }
td.name { white-space: nowrap; }
td .ci { display: block; font-size: 12px; color: var(--muted); }
.wide { overflow-x: auto; scrollbar-width: thin; padding-bottom: 6px; margin-bottom: 18px; }
.wide table { min-width: 100%; }
.wide tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 400; z-index: 1; }
tbody th b { display: block; font-weight: 600; white-space: nowrap; }
tbody th span { color: var(--muted); font-size: 13px; display: block; max-width: 160px; }
td.model { background: #eef6fb; padding-left: 12px; padding-right: 12px; font-weight: 600; }
th.model { padding-left: 12px; padding-right: 12px; color: var(--blue); }
td.model .ci { font-weight: 400; }
tr.same > td { border-bottom-color: transparent; padding-bottom: 1px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(196px, 1fr)); gap: 12px;
  margin: 26px 0 8px; }
.tile { background: var(--wash); border-radius: 10px; padding: 14px 16px 13px; }
.tile .what { font-size: 13.5px; font-weight: 600; line-height: 1.3; }
.tile .what span { display: block; font-weight: 400; color: var(--muted); }
.tile .value { font-size: 31px; font-weight: 600; letter-spacing: -0.02em; line-height: 1.25; margin-top: 6px;
  font-variant-numeric: tabular-nums; }
.tile .value small { font-size: 15px; font-weight: 500; letter-spacing: 0; color: var(--muted); }
.tile .bar { font-size: 13px; line-height: 1.35; color: var(--muted); }
.verdict { font-weight: 600; white-space: nowrap; }
.verdict.yes { color: var(--good); } .verdict.no { color: var(--bad); }
.tracks { display: grid; grid-template-columns: minmax(150px, 1.1fr) 62px minmax(160px, 2.6fr)
  minmax(150px, 1fr);
  gap: 0 18px; align-items: center; font-size: 14px; font-variant-numeric: tabular-nums; }
.tracks > div { padding: 7px 0; min-width: 0; }
.tracks .q b { font-weight: 600; } .tracks .q span { color: var(--muted); font-size: 13px; }
.tracks .v { text-align: right; font-weight: 600; }
.tracks .best { color: var(--muted); font-size: 13px; line-height: 1.3; }
.tracks .axis { color: var(--muted); font-size: 12px; display: flex; justify-content: space-between;
  padding: 0; }
.track { position: relative; height: 18px; background:
  linear-gradient(to right, #d3d9de 1px, transparent 1px) 0 0 / 25% 100%, var(--wash);
  border-right: 1px solid #d3d9de; }
.track i { position: absolute; top: 50%; }
.track .range { height: 6px; margin-top: -3px; background: var(--blue); opacity: 0.32; border-radius: 3px; }
.track .dot { width: 12px; height: 12px; margin: -6px 0 0 -6px; background: var(--blue); border-radius: 50%;
  box-shadow: 0 0 0 2px var(--paper); }
.track .control { width: 9px; height: 9px; margin: -4.5px 0 0 -4.5px; border: 1.5px solid #8a949e;
  border-radius: 50%; }
.track .control.top { border: 2px solid var(--vermilion); border-radius: 0; transform: rotate(45deg); }
.key { display: flex; flex-wrap: wrap; gap: 4px 22px; font-size: 13px; color: var(--muted);
  margin: 4px 0 12px; }
.key span { display: inline-flex; align-items: center; gap: 7px; }
.key i { position: static !important; margin: 0 !important; display: inline-block; }
.key .line { width: 14px; height: 3px; border-radius: 2px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 26px 34px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(470px, 1fr)); gap: 34px 44px; }
.pair .two { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
figure { margin: 0; min-width: 0; } figcaption { font-size: 13.5px; line-height: 1.4; color: var(--muted);
  margin-bottom: 8px; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(470px, 1fr)); gap: 34px 44px; }
.clip canvas { width: 100%; aspect-ratio: 16 / 10; display: block; border-radius: 10px;
  background: var(--wash);
  touch-action: pan-y; cursor: grab; }
.clip .bar { display: flex; align-items: center; gap: 12px; margin: 8px 0 6px; }
.clip button { font: 600 13px var(--sans); color: var(--ink); background: var(--paper);
  border: 1px solid #b9c2ca;
  border-radius: 7px; padding: 6px 0; width: 72px; cursor: pointer; }
.clip button:hover { border-color: var(--blue); color: var(--blue); }
.clip input { flex: 1; accent-color: var(--blue); min-width: 0; }
.clip .time { font-size: 13px; color: var(--muted); font-variant-numeric: tabular-nums; width: 88px;
  text-align: right; }
.clip table { width: 100%; } .clip td:last-child, .clip th:last-child { padding-right: 0; }
.clip td { overflow-wrap: anywhere; } .clip td.num { overflow-wrap: normal; }
.right { color: var(--good); font-weight: 600; } .wrong { color: var(--bad); font-weight: 600; }
.bars { display: grid; grid-template-columns: max-content minmax(80px, 1fr) max-content; gap: 5px 14px;
  font-size: 14px; align-items: center; font-variant-numeric: tabular-nums; max-width: 860px; }
.bars .fill { height: 12px; background: var(--wash); border-radius: 3px; overflow: hidden; display: flex; }
.bars .fill i { height: 100%; background: var(--blue); } .bars .fill i + i { background: #7fbfe0; }
.bars .fill i + i + i { background: var(--vermilion); }
.bars .amount { color: var(--muted); text-align: right; white-space: nowrap; }
details { margin-top: 18px; } summary { cursor: pointer; color: var(--blue); font-size: 14px; padding: 4px 0; }
.example + .example { margin-top: 40px; } .example h3 { margin-bottom: 10px; }
.codes { display: grid; grid-template-columns: repeat(auto-fill, minmax(158px, 1fr)); gap: 24px 18px; }
.codes figcaption { margin: 4px 0 0; font-size: 12.5px; line-height: 1.35; }
ul { padding-left: 20px; margin: 0; max-width: 74ch; } li { margin-bottom: 9px; }
footer { padding-top: 28px; padding-bottom: 56px; margin-top: 40px; border-top: 1px solid var(--line); }
:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
@media (max-width: 620px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 32px; }
  tbody th b { white-space: normal; } .wide tbody th { min-width: 118px; max-width: 130px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; } .tile { padding: 12px; }
    .tile .value { font-size: 26px; }
  .pairs, .clips { grid-template-columns: 1fr; } .pair .two { grid-template-columns: 1fr; }
  .tracks { grid-template-columns: 1fr max-content; gap: 0 12px; }
  .tracks .head { display: none; } .tracks > div { padding: 3px 0; }
  .tracks .t, .tracks .best { grid-column: 1 / -1; } .tracks .best { padding-bottom: 12px; }
}
@media print { section { break-inside: avoid; } nav, .clip .bar { display: none; } }
"""

SCRIPT = """
"use strict";
const COLOURS = { r: "#d55e00", l: "#0072b2", "": "#1c2733" };
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

function unpack(clip) {
  const bytes = Uint8Array.from(atob(clip.data), c => c.charCodeAt(0));
  const view = new DataView(bytes.buffer), points = new Float32Array(bytes.length / 2);
  for (let i = 0; i < points.length; i++) points[i] = view.getInt16(2 * i, true) / 1000;
  return points;
}

function figure(box) {
  const clip = JSON.parse(box.querySelector("script").textContent), points = unpack(clip);
  const canvas = box.querySelector("canvas"), context = canvas.getContext("2d");
  const button = box.querySelector("button"), slider = box.querySelector("input"),
    time = box.querySelector(".time");
  const stride = clip.count * 3, pitch = 0.14;
  let frame = 0, yaw = -0.35, playing = false, visible = false, last = 0, drag = null;
  slider.max = clip.frames - 1;

  // The camera follows the pelvis, smoothed over a second so that it does not bounce with it.
  function centre(at) {
    const half = Math.round(clip.rate / 2), sum = [0, 0];
    let n = 0;
    for (let f = Math.max(0, at - half); f <= Math.min(clip.frames - 1, at + half); f++, n++) {
      sum[0] += points[f * stride]; sum[1] += points[f * stride + 2];
    }
    return [sum[0] / n, sum[1] / n];
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const at = Math.min(clip.frames - 1, Math.round(frame)), middle = centre(at), scale = height / 2.3;
    const cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
    const project = (x, y, z) => {
      const dx = x - middle[0], dz = z - middle[1];
      const across = dx * cy + dz * sy, depth = dz * cy - dx * sy;
      return [width / 2 + scale * across, height * 0.84 - scale * (y * cp - depth * sp), depth];
    };
    const line = (a, b, colour, thick) => {
      context.strokeStyle = colour; context.lineWidth = thick; context.beginPath();
      context.moveTo(a[0], a[1]); context.lineTo(b[0], b[1]); context.stroke();
    };
    // The ground: a strip ruled every half metre, so that walking is seen as ground passing by.
    const reach = 3, deep = 0.75, z0 = middle[1];
    for (let x = Math.ceil((middle[0] - reach) * 2) / 2; x <= middle[0] + reach; x += 0.5)
      line(project(x, 0, z0 - deep), project(x, 0, z0 + deep), Number.isInteger(x) ? "#b4bec7" : "#dde2e7",
        1);
    for (const z of [-deep, 0, deep])
      line(project(middle[0] - reach, 0, z0 + z), project(middle[0] + reach, 0, z0 + z),
        z ? "#dde2e7" : "#b4bec7", 1);
    context.lineCap = "round";
    const joint = k => {
      const i = at * stride + 3 * k;
      return project(points[i], points[i + 1], points[i + 2]);
    };
    const bones = clip.bones.map(([a, b, side]) => ({ a: joint(a), b: joint(b), side }));
    bones.sort((p, q) => p.a[2] + p.b[2] - q.a[2] - q.b[2]);
    for (const bone of bones) line(bone.a, bone.b, COLOURS[bone.side], Math.max(3, height / 75));
    if (clip.head >= 0) {
      const head = joint(clip.head);
      context.fillStyle = COLOURS[""]; context.beginPath();
      context.arc(head[0], head[1], 0.095 * scale, 0, 2 * Math.PI); context.fill();
    }
    slider.value = at;
    const end = ((clip.frames - 1) / clip.rate).toFixed(1);
    time.textContent = (at / clip.rate).toFixed(1) + " of " + end + " s";
  }

  function tick(now) {
    if (!playing || !visible) { last = 0; return; }
    if (last) frame = (frame + (now - last) / 1000 * clip.rate) % clip.frames;
    last = now; draw(); requestAnimationFrame(tick);
  }
  function play(on) {
    playing = on; button.textContent = on ? "Pause" : "Play"; last = 0;
    if (on) requestAnimationFrame(tick);
  }
  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => { play(false); frame = Number(slider.value); draw(); });
  canvas.addEventListener("pointerdown", e => { drag = e.clientX; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", e => {
    if (drag === null) return;
    yaw += (e.clientX - drag) / 160; drag = e.clientX; draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  new IntersectionObserver(entries => {
    const seen = entries[entries.length - 1].isIntersecting;
    if (seen && !visible && playing) { visible = true; requestAnimationFrame(tick); }
    visible = seen;
  }).observe(canvas);
  new ResizeObserver(draw).observe(canvas);
  draw();
  visible = true;
  play(!still);
}
document.querySelectorAll(".clip").forEach(figure);
"""


class Section(NamedTuple):
    """A part of a page: its anchor, heading, lead sentence and HTML."""

    identity: str
    title: str
    lead: str
    body: str


def document(
    title: str, heading: str, head: str, sections: Sequence[Section], notes: Sequence[str], made: str, tiles: str = ""
) -> str:
    """Build a whole page.

    Args:
        title, heading, made: plain text; the footer shows `made`, the versions that the page was made with.
        head, notes, tiles: HTML.
    """
    links = "".join(f'<a href="#{part.identity}">{part.title}</a>' for part in sections)
    body = "".join(
        f'<section id="{part.identity}"><h2>{part.title}</h2><p class="lead">{part.lead}</p>{part.body}</section>'
        for part in sections
    )
    listed = "".join(f"<li>{note}</li>" for note in notes)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{escape(heading)}</h1>{head}<nav>{links}</nav>{tiles}</header>"
        f'<main>{body}<section id="notes"><h2>How to read this</h2><p></p><ul>{listed}</ul></section></main>'
        f'<footer class="small">{escape(made)}</footer><script>{SCRIPT}</script></body></html>\n'
    )
