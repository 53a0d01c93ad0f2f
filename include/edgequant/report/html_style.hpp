// SPDX-License-Identifier: MIT
/// The style sheet of the report page: light and dark, on screens of any width, and on paper; and
/// the script that sorts its table.
#pragma once

#include "../config.hpp"

#include <string_view>

namespace edgequant::inline EDGEQUANT_ABI {

namespace report::detail {

inline constexpr std::string_view html_style = R"css(
:root{color-scheme:light;--paper:#f7f7f5;--card:#fff;--ink:#1c2127;--soft:#5b6570;--line:#dfe2e6;
--grid:#e9ebee;--curve:#7d8894;--mark:#c2410c}
@media screen and (prefers-color-scheme:dark){:root{color-scheme:dark;--paper:#121519;
--card:#1a1e23;--ink:#e7e9ec;--soft:#9ba5b0;--line:#30363d;--grid:#272d34;--curve:#7d8894;
--mark:#fb923c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.5;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-size:15px;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:32px 20px 48px}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.87em;unicode-bidi:isolate}
h1{font-size:26px;font-weight:600;line-height:1.25;letter-spacing:-.01em;margin:0 0 4px;
overflow-wrap:anywhere;unicode-bidi:isolate}
h2{font-size:18px;font-weight:600;margin:0 0 12px}
h3{font-size:14px;font-weight:600;margin:20px 0 2px}
p{margin:0 0 8px}
.kicker{color:var(--soft);font-size:13px;margin:0 0 2px}
.paths{color:var(--soft);overflow-wrap:anywhere;margin:0 0 20px}
.axis{color:var(--soft);font-size:13px;margin:0 0 10px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;
margin:0 0 20px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:18px 24px;
margin:0}
dt{color:var(--soft);font-size:13px}
dd{margin:0;font-size:20px;line-height:1.3}
dd small{display:block;font-size:13px;color:var(--soft);line-height:1.4;margin-top:2px}
.plan{margin-top:20px;padding-top:18px;border-top:1px solid var(--line)}
.scroll{overflow-x:auto}
.wide svg{width:100%;min-width:780px}
svg{display:block}
svg text{font-family:inherit;fill:var(--ink)}
.tick,.axis{fill:var(--soft)}
svg text.tick{font-size:11px;fill:var(--soft)}
svg text.axis{font-size:12px;fill:var(--soft)}
svg text.name{font-size:11.5px;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace}
svg text.label{font-size:12px;paint-order:stroke;stroke:var(--card);stroke-width:4px;
stroke-linejoin:round}
svg text.strong{font-weight:600;fill:var(--mark)}
svg text.on{font-size:11px;pointer-events:none}
svg text.light{fill:#fff}
svg text.dark{fill:#16181d}
.end{text-anchor:end}
.middle{text-anchor:middle}
.grid{stroke:var(--grid)}
.trend{fill:none;stroke:var(--curve);stroke-width:1.2;opacity:.6}
.frontier{fill:none;stroke:var(--curve);stroke-width:1.6}
.best{fill:var(--curve)}
.dot,.uniform{stroke:var(--card);stroke-width:1}
.small{stroke:none}
.chosen{fill:var(--card);stroke:var(--mark);stroke-width:3}
.budget{stroke:var(--mark);stroke-dasharray:4 4}
.leader{stroke:var(--soft);stroke-width:.8}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,240px),1fr));
gap:14px 20px}
figure{margin:0}
figcaption{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:12px;overflow-wrap:anywhere}
.panels svg{width:100%}
.bars{display:grid;grid-template-columns:minmax(0,max-content) minmax(60px,1fr) max-content;
gap:4px 12px;align-items:center;margin:14px 0 0}
.bars code{overflow-wrap:anywhere}
.bars b{font-weight:400;font-size:13px;text-align:right}
.bar{display:block;background:var(--grid);border-radius:3px}
.bar i{display:block;height:12px;min-width:1px;border-radius:3px}
.reasons{grid-template-columns:minmax(0,max-content) minmax(60px,1fr) max-content minmax(0,2fr)}
.reasons b+span{font-size:13px;color:var(--soft)}
.chip{display:inline-block;border-radius:4px;padding:0 6px;font-size:12px;line-height:18px;
min-width:44px;text-align:center}
.legend,.names{list-style:none;margin:0 0 14px;padding:0}
.legend{display:flex;flex-wrap:wrap;gap:6px 24px;font-size:13px}
.names{columns:auto 270px;column-gap:24px;font-size:13px;margin:14px 0 0}
.names li{break-inside:avoid;overflow-wrap:anywhere;padding:2px 0 2px 52px;text-indent:-52px}
.names .chip{text-indent:0}
table{border-collapse:collapse;width:100%;font-size:13px}
th{font-weight:500;color:var(--soft);text-align:left;vertical-align:bottom}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th[aria-sort] button{color:var(--ink)}
th[aria-sort=ascending] button::after{content:" \2191"}
th[aria-sort=descending] button::after{content:" \2193"}
th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--line);white-space:nowrap}
td:last-child,th:last-child{padding-right:0}
tbody tr:hover{background:var(--grid)}
tfoot td{border-bottom:0;font-weight:600}
.n{text-align:right}
.guess{color:var(--soft)}
.notes{margin:0;padding-left:20px;overflow-wrap:anywhere}
@media(max-width:600px){main{padding:20px 12px}section{padding:16px 14px}h1{font-size:22px}}
@media print{:root{--paper:#fff}body{font-size:11px}main{max-width:none;padding:0}
section{border:0;padding:0;margin:0 0 24px}.scroll{overflow:visible}.scroll svg{max-width:100%;
min-width:0;height:auto}figure,li,tr{break-inside:avoid}h2,h3{break-after:avoid}table{font-size:9px}
.panels{grid-template-columns:repeat(4,1fr)}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)css";

/// A click on a column's head sorts the rows by the numbers that their cells have as data-v; a
/// second one turns them round.
inline constexpr std::string_view sort_script = R"js(
for (const button of document.querySelectorAll("#tensors th button")) button.onclick = function () {
  const head = button.parentNode, body = document.querySelector("#tensors tbody");
  const index = head.cellIndex, up = head.getAttribute("aria-sort") === "descending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = function (row) { return parseFloat(row.cells[index].dataset.v); };
  const rows = Array.from(body.rows);
  rows.sort(function (a, b) { return (up ? 1 : -1) * (value(a) - value(b)); });
  body.append(...rows);
};
)js";

} // namespace report::detail

} // namespace edgequant::inline EDGEQUANT_ABI
