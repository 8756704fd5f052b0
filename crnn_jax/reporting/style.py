"""What the report's page needs besides: rules of its style sheet, its few lines of JavaScript."""

from __future__ import annotations

FRAMES = """
.frames rect.lane { fill: var(--lane) }
.frames rect.cell { fill: var(--s0) } .frames rect.blank { fill: var(--soft) }
.frames g rect, .frames g polyline { fill: none; stroke: var(--good); stroke-width: 1.6 }
.frames g polyline { stroke-width: 1.1; opacity: .8 }
.frames g.other rect, .frames g.other polyline { stroke: var(--error); stroke-dasharray: 3 2.5 }
"""  # of `alignment.heat_map`

STYLE = (
    """
:root { --s0: #2f66b5; --s1: #c2571a; --s2: #2b8a4b; --s3: #8a3fa0; --s4: #a8862a; --s5: #2a8d93;
  --hit: #c2571a; --lane: #eef0f4; --mark: #ffd9d5 }
@media (prefers-color-scheme: dark) { :root { --s0: #7fb0f5; --s1: #f0995e; --s2: #70cf90;
  --s3: #cf97e2; --s4: #d9bd6a; --s5: #6fd0d6; --hit: #f0995e; --lane: #272c35; --mark: #5c2723 } }
html { scroll-behavior: smooth; scroll-padding-top: 12px }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
.page { display: grid; grid-template-columns: 190px minmax(0, 1fr); max-width: 1380px;
  margin: 0 auto }
main { max-width: none; margin: 0; padding: 28px 24px 80px 8px; min-width: 0 }
nav { padding: 34px 8px 0 20px } nav ul { position: sticky; top: 24px; list-style: none;
  margin: 0; padding: 0; font-size: 14px }
nav a { display: block; padding: 5px 10px; border-radius: 6px; text-decoration: none;
  color: var(--soft) }
nav a:hover, nav a.here { background: var(--paper); color: var(--ink) }
a:focus-visible, input:focus-visible, select:focus-visible, summary:focus-visible {
  outline: 2px solid var(--s0); outline-offset: 1px }
section { margin: 16px 0; padding: 18px 22px 22px }
section h2 { margin: 0 0 2px; font-size: 21px } section h3 { margin: 22px 0 6px }
h4 { margin: 10px 0 2px; font-size: 13px; font-weight: 600; color: var(--soft) }
.how { color: var(--soft); max-width: 82ch; margin: 0 0 14px }
.scroll { overflow-x: auto } table { font-size: 14px } thead th { color: var(--soft);
  font-weight: 500; font-size: 13px; border-bottom: 1px solid var(--line); vertical-align: bottom }
.whole { white-space: nowrap } td { vertical-align: middle }
tbody tr + tr td { border-top: 1px solid var(--line) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 10px;
  margin: 18px 0 } .tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px;
  font-size: 13px; overflow-wrap: anywhere } .big { font-size: 22px;
  font-weight: 650; line-height: 1.3 }
.advice { list-style: none; padding: 0; margin: 14px 0 } .advice li { margin: 6px 0 }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--lane);
  border-radius: 6px; padding: 10px 12px; margin: 0; font-size: 13px }
code { font-size: 13px; overflow-wrap: anywhere } summary { cursor: pointer; margin: 10px 0 4px }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr));
  gap: 18px 22px } .curve { margin: 0; max-width: 520px } .curve svg { width: 100%; height: auto;
  display: block } .keys { float: right } .key { margin-left: 10px; white-space: nowrap }
.key::before { content: ""; display: inline-block; width: 14px; height: 3px; margin-right: 5px;
  vertical-align: 3px; background: var(--c); border-radius: 2px }
.s0 { --c: var(--s0) } .s1 { --c: var(--s1) } .s2 { --c: var(--s2) } .s3 { --c: var(--s3) }
.s4 { --c: var(--s4) } .s5 { --c: var(--s5) }
svg polyline { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round }
svg polyline.faint { stroke-width: 1; opacity: .35 } svg circle { fill: var(--c) }
svg polygon.band { fill: var(--c); opacity: .16 } svg polyline.guide { stroke: var(--soft);
  stroke-dasharray: 4 4; stroke-width: 1 } svg line.mark { stroke: var(--soft);
  stroke-dasharray: 3 3 } svg text.char { fill: var(--ink); font-size: 13px }
.meter { vertical-align: middle } .meter rect.rest { fill: var(--lane) }
.meter rect { fill: var(--bar) } svg line.whisker { stroke: var(--ink); stroke-width: 2 }
.matrix rect.none { fill: var(--lane) } .matrix rect.same { fill: var(--line) }
.matrix rect.hit { fill: var(--hit) } svg text.count { fill: var(--ink) }
svg text.on { fill: var(--paper); font-weight: 600 } .matrix { margin: 10px 0 14px }
mark { background: var(--mark); color: inherit; border-radius: 2px; padding: 0 1px }
.texts { font-size: 15px; line-height: 1.45 } .texts .soft { font-size: 12px }
.text { font-weight: 600; white-space: pre-wrap; color: var(--ink) }
.grid { grid-template-columns: repeat(auto-fill, minmax(min(216px, 100%), 1fr)) }
.right .text { color: var(--good) }
.wrong .text { color: var(--error) } .place { font-size: 11px; margin-top: 2px }
.sure { font-variant-numeric: tabular-nums } .words { font-size: 12px }
td .pictures { min-height: 0; margin: 4px 0 0 } td .pictures img { max-height: 34px; width: auto }
.groups { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr));
  gap: 4px 26px } .aligneds { display: flex; flex-wrap: wrap; gap: 22px }
.aligned { margin: 0; max-width: 100%; min-width: 0 } .aligned figcaption { margin-bottom: 8px }
.aligned b { color: var(--ink) }
"""
    + FRAMES
    + """
.tools { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; font-size: 14px }
.tools[hidden], .card[hidden] { display: none } input, select { font: inherit; padding: 4px 8px;
  color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 6px }
@media (max-width: 900px) { .page { display: block } main { padding: 12px 10px 60px }
  nav { position: sticky; top: 0; z-index: 1; padding: 6px 10px; background: var(--ground);
    border-bottom: 1px solid var(--line); overflow-x: auto }
  nav ul { position: static; display: flex; gap: 4px } nav a { white-space: nowrap }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)) } .meter { width: 96px }
  html { scroll-padding-top: 50px } section { padding: 14px 14px 18px }
  td, th { padding-right: 12px } }
@media print { nav, .tools { display: none } .page { display: block } section { border: 0 } }
"""
)

# The page is whole without it: it marks the section that is read and searches the worst readings.
SCRIPT = """
"use strict";
const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    links.forEach(a => a.classList.remove("here"));
    links.get(entry.target.id).classList.add("here");
  }
}, { rootMargin: "-20% 0px -70% 0px" });
links.forEach((_, id) => seen.observe(document.getElementById(id)));
const search = document.getElementById("worst-search");
if (search) {
  const cards = [...document.querySelectorAll("#worst-cards > .card")];
  const order = document.getElementById("worst-order");
  const show = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      card.hidden = !words.every(word => card.dataset.text.includes(word));
      count += !card.hidden;
    }
    document.getElementById("worst-count").textContent = `${count} of ${cards.length}`;
  };
  order.addEventListener("change", () => {
    const key = order.value, sorted = [...cards];
    if (key) sorted.sort((a, b) => b.dataset[key] - a.dataset[key]);
    document.getElementById("worst-cards").append(...sorted);
  });
  search.addEventListener("input", show);
  search.closest(".tools").hidden = false;
  show();
}
"""
