/** The style of the page of `cfs-repo report`. Colours of text have a contrast of at least 4.5 in both schemes. */
export const STYLE = `
:root { color-scheme: light dark; --page: #ffffff; --panel: #f6f8fa; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --link: #0550ae; --unique: #0969da; --shared: #afb8c1; --bad: #b3261e; --good: #1a7f37; --cell: #ddf0ff; --focus: #bf3989 }
@media (prefers-color-scheme: dark) { :root { --page: #0d1117; --panel: #161b22; --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --link: #79c0ff; --unique: #4493f8; --shared: #57606a; --bad: #ff8a80; --good: #3fb950; --cell: #123a5c;
  --focus: #ff80c8 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1100px; padding: 16px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
h1 { font-size: 1.5em; margin: 8px 0 0; overflow-wrap: anywhere } h2 { font-size: 1.2em; margin: 36px 0 8px }
h3 { font-size: 1em; margin: 20px 0 4px } p { margin: 6px 0 } a { color: var(--link) }
code, .path { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.9em;
  unicode-bidi: isolate; overflow-wrap: anywhere }
.soft { color: var(--soft) } .bad { color: var(--bad); font-weight: 600 } .good { color: var(--good); font-weight: 600 }
.skip { position: absolute; left: -9999px } .skip:focus { position: static }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; padding: 0; margin: 8px 0 }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 1px }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 8px; padding: 0; margin: 12px 0 }
.facts div { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 8px 12px }
.facts dt { color: var(--soft) } .facts dd { margin: 0; font-size: 1.25em; font-weight: 600 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft); padding: 4px 0 }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top }
th.n, td.n { text-align: right; white-space: nowrap } thead th { color: var(--soft); font-weight: 600 }
td.none { text-align: center } th button, td button { padding: 0 } td.drawn, th.drawn { padding-left: 14px }
.names th { min-width: 190px } th code { font-weight: 400 }
.list { max-height: 380px; overflow: auto }
.bar { display: block; width: 160px; height: 14px } .bar .shared { fill: var(--shared) } .bar .unique { fill: var(--unique) }
.s1 { background: color-mix(in srgb, var(--cell) 15%, var(--page)) } .s2 { background: color-mix(in srgb, var(--cell) 40%, var(--page)) }
.s3 { background: color-mix(in srgb, var(--cell) 65%, var(--page)) } .s4 { background: var(--cell) }
.controls { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; margin: 8px 0 }
fieldset { border: 0; padding: 0; margin: 0; display: flex; gap: 12px } legend { float: left; padding: 0 8px 0 0 }
select, input[type=search] { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--soft);
  border-radius: 6px; padding: 4px 8px; max-width: min(420px, calc(100vw - 36px)) }
input[type=search] { width: 260px }
button { font: inherit; color: var(--link); background: none; border: 0; padding: 2px 4px; cursor: pointer; text-align: left }
.way { display: flex; flex-wrap: wrap; align-items: center; margin: 4px 0 } .way [aria-current] { color: var(--ink); font-weight: 600 }
#map { position: relative; height: 420px; background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  overflow: hidden }
#map button { position: absolute; overflow: hidden; display: flex; flex-direction: column; align-items: flex-start; color: #0b2239; border: 1px solid var(--page); padding: 2px 5px;
  font-size: 13px; line-height: 1.3; border-radius: 0; overflow-wrap: anywhere }
#map button:focus-visible { z-index: 1; outline-offset: -3px; outline-color: #000 }
#map .c0 { background: #9ecbff } #map .c1 { background: #a5e0b5 } #map .c2 { background: #ffd48a } #map .c3 { background: #d9bcff }
#map .c4 { background: #ffbdb8 } #map .c5 { background: #9fe3e6 } #map .c6 { background: #e7e1a0 } #map .c7 { background: #d0d7de }
#map .leaf { cursor: default } #map .tiny span { display: none }
ul.found { max-height: 300px; overflow: auto; padding-left: 18px }
.added { color: var(--good) } .removed { color: var(--bad) }
@media (prefers-color-scheme: dark) { #map button { filter: brightness(0.85) } }
@media print { .controls, nav, .skip, noscript { display: none } #map { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2 { break-after: avoid } tr { break-inside: avoid } .scroll, .list { overflow: visible; max-height: none } }
`;
