"""The style sheet of the pages: light or dark by the reader's setting, on any width."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f9; --card: #ffffff; --ink: #1c2430; --faint: #66717f; --line: #e4e8ee;
  --accent: #2f5fd0; --soft: #dfe8fb; --warm: #c4541f; --good: #1f7a54;
  --notice: #fff4d6; --notice-ink: #6b4d00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f131a; --card: #171c25; --ink: #e6eaf0; --faint: #97a3b4; --line: #2b3340;
    --accent: #7ea2ff; --soft: #26345a; --warm: #ff9a66; --good: #6fd3a6;
    --notice: #3a3014; --notice-ink: #f2d98b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    sans-serif;
}
main {
  max-width: 1040px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; display: grid; gap: 1.25rem;
}
main > * { min-width: 0; margin: 0; }
header h1 {
  margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere;
}
header p { margin: .35rem 0 0; color: var(--faint); }
h2 { margin: 0 0 1rem; font-size: 1.15rem; letter-spacing: -.01em; }
h3 { margin: 1.5rem 0 .6rem; font-size: .95rem; }
h2 + h3 { margin-top: 0; }
h3 small, .faint { color: var(--faint); font-weight: 400; font-size: .85rem; }
.faint { margin: .75rem 0 0; }
.notice {
  background: var(--notice); color: var(--notice-ink); padding: .75rem 1rem; border-radius: 10px;
}
.card, .plots figure {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.5rem;
}
.hero { display: grid; gap: 1.75rem 3rem; grid-template-columns: auto 1fr; align-items: center; }
.big p, .tiles p { margin: 0; color: var(--faint); font-size: .9rem; }
.big strong {
  display: block; font-size: 4.4rem; line-height: 1.05; letter-spacing: -.045em; font-weight: 700;
  font-variant-numeric: tabular-nums;
}
.big strong span, .tiles strong span {
  font-size: .5em; margin-left: .1em; color: var(--faint); letter-spacing: 0;
}
.big small, .tiles small { display: block; color: var(--faint); font-size: .85rem; }
.scale > div {
  display: grid; grid-template-columns: 9rem 1fr 4.2rem; gap: .9rem; align-items: center;
  padding: .32rem 0; font-size: .92rem; color: var(--faint);
}
.scale b { font-weight: 500; }
.scale em { font-style: normal; text-align: right; font-variant-numeric: tabular-nums; }
.scale .model b, .scale .model em { color: var(--ink); font-weight: 650; }
.track { position: relative; height: 1.1rem; border-radius: 99px; background: var(--page); }
.track i {
  position: absolute; top: 50%; transform: translateY(-50%); border-radius: 99px;
  background: var(--faint);
}
.track .bar { height: 6px; opacity: .38; }
.track .dot { width: 12px; height: 12px; margin-left: -6px; border: 2px solid var(--card); }
.model .track i { background: var(--accent); }
.tiles {
  grid-column: 1 / -1; display: grid; grid-template-columns: 1fr 1fr; gap: 1.25rem 3rem;
  border-top: 1px solid var(--line); padding-top: 1.25rem;
}
.tiles strong {
  font-size: 1.7rem; letter-spacing: -.02em; font-variant-numeric: tabular-nums; line-height: 1.3;
}
.says { margin: 0; padding-left: 1.1rem; display: grid; gap: .5rem; }
.says li::marker { color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; font-weight: 500; }
td, th { padding: .5rem .75rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; color: var(--faint); font-size: .85rem; }
.scores td, .scores thead th {
  text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
}
.scores thead th:first-child { text-align: left; }
.scores td { color: var(--faint); }
.scores td.model { color: var(--ink); font-weight: 650; }
.scores small { display: block; color: var(--faint); font-weight: 400; font-size: .78rem; }
.scores tr > th:first-child { padding-left: 0; }
.scores tr > :last-child { padding-right: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 1.25rem; }
.plots.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.plots figure { margin: 0; padding: .5rem; overflow: hidden; background: #ffffff; }
@media (prefers-color-scheme: dark) { .plots figure { background: #171c25; } }
.plots img { display: block; width: 100%; height: auto; }
.curves { display: grid; gap: 1rem; }
.curves.of2 { grid-template-columns: repeat(2, 1fr); }
.curves.of3 { grid-template-columns: repeat(3, 1fr); }
.curves figure { margin: 0; }
.curves img { display: block; width: 100%; max-width: 520px; height: auto; margin: 0 auto; }
.gallery {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(138px, 1fr)); gap: 1rem .9rem;
}
.gallery figure { margin: 0; }
.gallery img {
  display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 8px;
}
.gallery p {
  margin: .45rem 0 .2rem; font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere;
}
.gallery small {
  display: block; color: var(--faint); font-size: .78rem; font-variant-numeric: tabular-nums;
}
.gallery small span { white-space: nowrap; }
.gallery small .file { white-space: normal; overflow-wrap: anywhere; }
.gallery .right b { color: var(--accent); }
.gallery .wrong b { color: var(--warm); }
.captions article {
  display: grid; grid-template-columns: 210px 1fr; gap: 1.25rem; padding: 1rem 0;
  border-top: 1px solid var(--line);
}
.captions h3 + article { border-top: 0; padding-top: .2rem; }
.captions article > img { display: block; width: 100%; height: auto; border-radius: 8px; }
.captions article > div { min-width: 0; }
.captions article p { margin: 0; font-size: 1.05rem; font-weight: 600; overflow-wrap: anywhere; }
.captions small { color: var(--faint); font-size: .78rem; font-variant-numeric: tabular-nums; }
.captions small b { color: var(--accent); }
.captions small .file { overflow-wrap: anywhere; }
.captions ul {
  margin: .5rem 0 .8rem; padding-left: 1.1rem; color: var(--faint); font-size: .88rem;
}
.words { display: flex; flex-wrap: wrap; gap: .5rem; }
.words figure { margin: 0; width: 74px; }
.words img { display: block; width: 100%; height: auto; border-radius: 5px; }
.words figcaption { font-size: .78rem; text-align: center; overflow-wrap: anywhere; }
.looks {
  grid-column: 1 / -1; display: grid; grid-template-columns: repeat(auto-fill, minmax(126px, 1fr));
  gap: .7rem .6rem;
}
.looks figure { margin: 0; }
.looks img { display: block; width: 100%; height: auto; border-radius: 6px; }
.looks figcaption {
  margin-top: .2rem; font-size: .92rem; font-weight: 600; line-height: 1.25; text-align: center;
  overflow-wrap: anywhere;
}
.verdict { margin: 0 0 1rem; font-weight: 600; }
.verdict::first-letter { text-transform: uppercase; }
.leak { color: var(--warm); }
.clean { color: var(--good); }
.scores + .scores { margin-top: 1.25rem; }
pre { margin: 0; font: .82rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.about th { width: 34%; color: var(--faint); padding-left: 0; }
.about td { overflow-wrap: anywhere; padding-right: 0; }
.about tr:first-child > * { border-top: 0; }
@media (max-width: 640px) {
  main { padding: 1.5rem .8rem 3rem; gap: .9rem; }
  header h1 { font-size: 1.5rem; }
  .card { padding: 1.1rem 1rem; }
  .hero { grid-template-columns: 1fr; }
  .big strong { font-size: 3.6rem; }
  .scale > div { grid-template-columns: 6.2rem 1fr 3.8rem; gap: .6rem; font-size: .85rem; }
  .tiles { gap: 1rem 1.25rem; }
  .curves.of2, .curves.of3 { grid-template-columns: 1fr; }
  .gallery { grid-template-columns: 1fr 1fr; }
  .captions article { grid-template-columns: 1fr; gap: .6rem; }
  .words figure { width: 62px; }
  .looks { grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); }
  td, th { padding: .45rem .5rem; }
}
"""
