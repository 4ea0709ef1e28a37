"""The report's style sheet: light and dark by the reader's system, no fonts or files from elsewhere."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#f4f3ef;--card:#fdfdfb;--ink:#15181d;--soft:#5b6069;--line:#dedcd4;
--edge:#15181d38;
--grid:#e6e4dd;
--c0:#2467c9;--c1:#d9591f;--c2:#0f8f6a;--c3:#7d55c7;--c4:#b8336a;--c5:#6b7a1f;--night:#4a5a78;--shade-night:#3b4d7017;--shade-pass:#e0a80024;
--sun:#f2d37c;--pass:#c98a00;--boot:#6b3fa0;--good:#1c7f45;--warn:#a86a00;--bad:#c0312f;
--m0:#5d8f63;--m1:#f5f7fa;--m2:#3a3f5c}
@media(prefers-color-scheme:dark){:root{--page:#0e1116;--card:#161a21;--ink:#e9ecf1;--soft:#98a1ae;--line:#2a303a;
--edge:#000000a8;
--grid:#3a424f;--c0:#6aa5f5;--c1:#f08a54;--c2:#3cc39a;--c3:#b294ee;--c4:#f07aa8;--c5:#b5c455;--night:#3a4a69;--shade-night:#7d9bd61f;
--shade-pass:#f0c04022;--sun:#a8853a;--pass:#e2b23c;--boot:#c79bf2;--good:#4cc280;--warn:#e0a53c;--bad:#f0706c}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1220px;margin:0 auto;padding:28px 20px 40px}
header h1{margin:0;font-size:27px;font-weight:650;letter-spacing:-.01em}
header p{margin:3px 0 20px;color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin-top:16px}
h2{margin:0 0 10px;font-size:17px;font-weight:650}
h3{margin:18px 0 0;font-size:15px;font-weight:650}h3 .unit{font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(168px,1fr));gap:10px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 14px}
.card .label{color:var(--soft);font-size:13px}
.card .value{font-size:26px;font-weight:620;line-height:1.25;font-variant-numeric:tabular-nums;white-space:nowrap}
.card.good .value{color:var(--good)}.card.warn .value{color:var(--warn)}.card.bad .value{color:var(--bad)}
.unit{font-size:.62em;font-weight:450;color:var(--soft);margin-left:.28em}
.note{color:var(--soft);font-size:13px;margin:2px 0 0}
figure{margin:14px 0 0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:2px 18px;margin-bottom:2px}
figcaption .unit{font-size:13px}
.keys{display:flex;flex-wrap:wrap;gap:2px 16px;color:var(--soft);font-size:13px}
.keys.shade{margin:0 0 6px}.facts+.keys.shade{margin-top:12px}
.key{display:inline-flex;align-items:center;gap:6px}
.key i{width:14px;height:10px;border-radius:3px;display:inline-block}
.key i.eclipse{background:var(--night)}.key i.pass{background:var(--pass)}
.key i.mark{background:var(--bad);clip-path:polygon(0 0,100% 0,50% 100%)}
.key i.m0{background:var(--m0)}.key i.m1{background:var(--m1);outline:1px solid var(--line)}
.key i.m2{background:var(--m2)}
.key i.c0{background:var(--c0)}.key i.c1{background:var(--c1)}.key i.c2{background:var(--c2)}
.key i.c3{background:var(--c3)}.key i.c4{background:var(--c4)}.key i.c5{background:var(--c5)}
.key i.boot,.key i.fault{width:0;height:13px;border-radius:0;border-left:2px dashed var(--boot)}
.key i.fault{border-left:2px solid var(--bad)}
.scroll{overflow-x:auto;background:linear-gradient(to right,var(--card) 35%,transparent) left/44px 100%,
linear-gradient(to left,var(--card) 35%,transparent) right/44px 100%,
linear-gradient(to right,var(--edge),transparent) left/16px 100%,
linear-gradient(to left,var(--edge),transparent) right/16px 100%;
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
svg{display:block;width:100%;height:auto;font-size:11.5px}
.narrow{display:none}
svg text{fill:var(--soft);font-variant-numeric:tabular-nums}
.small-plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:0 18px;align-items:end}
.grid{stroke:var(--grid);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}
.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
.area.c0{fill:var(--c0)}.area.c1{fill:var(--c1)}.area.c2{fill:var(--c2)}.area.c3{fill:var(--c3)}
.area.c4{fill:var(--c4)}.area.c5{fill:var(--c5)}
.area{fill-opacity:.82}
.guide{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:5 4;opacity:.8}
svg .guide-text{fill:var(--bad)}
.gate{fill:var(--c3);fill-opacity:.09;stroke:var(--c3);stroke-width:.8;stroke-opacity:.55}
svg .gate-text{fill:var(--c3);font-size:10.5px}
svg .guide-text,svg .gate-text{paint-order:stroke;stroke:var(--card);stroke-width:3px}
path.eclipse{fill:var(--shade-night)}path.pass{fill:var(--shade-pass)}
.boot-line{stroke:var(--boot);stroke-width:1.4;stroke-dasharray:4 3}.fault-line{stroke:var(--bad);stroke-width:1.4}
svg .boot-text{fill:var(--boot)}svg .fault-text{fill:var(--bad)}
rect.sun{fill:var(--sun)}rect.night{fill:var(--night)}rect.pass-bar{fill:var(--pass)}
svg .on-night{fill:#f2f5fa}
.mark.high{fill:var(--bad)}.mark.medium{fill:var(--warn)}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(225px,1fr));gap:0 28px;margin:0}
dl.facts div{display:flex;justify-content:space-between;gap:10px;border-bottom:1px solid var(--line);padding:5px 0}
dt{color:var(--soft);min-width:0;overflow-wrap:anywhere}
dt small{display:block;font-size:12px;line-height:1.35}
dd{margin:0;flex:none;max-width:70%;overflow-wrap:anywhere;font-variant-numeric:tabular-nums;font-weight:560;text-align:right}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:14px;margin-top:10px}
.tile .pair{display:grid;grid-template-columns:1fr 1fr;gap:3px;border-radius:8px;overflow:hidden}
.tile img,.tile .none{width:100%;height:auto;aspect-ratio:1;display:block}
.tile .none{display:grid;place-items:center;background:var(--grid);color:var(--soft);font-size:13px}
.row{display:flex;justify-content:space-between;gap:8px;margin-top:4px;font-variant-numeric:tabular-nums}
.row span,.row.small{color:var(--soft);font-size:13px}
.bar{height:5px;border-radius:3px;background:var(--grid);margin-top:4px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--c0)}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;color:var(--soft);font-weight:500;font-size:13px;padding:4px 10px 6px 0;
border-bottom:1px solid var(--line)}
td{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
.num{font-variant-numeric:tabular-nums;white-space:nowrap;text-align:right}
.num:last-child{padding-right:0}.num+:not(.num){padding-left:8px}.time{width:1%}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.args{color:var(--soft);font-size:13px}
.steps{white-space:nowrap}
.step{display:inline-block;font-size:12px;padding:1px 7px;margin-right:3px;border-radius:9px;color:var(--soft);
border:1px dashed var(--line)}
.step.on{color:var(--c2);border:1px solid var(--c2)}
.chips{display:flex;flex-wrap:wrap;gap:6px;margin-bottom:10px}
.chip{display:inline-block;border-radius:10px;padding:1px 9px;font-size:12.5px;border:1px solid var(--line);
color:var(--soft);
white-space:nowrap}
.chip.completed{color:var(--good);border-color:var(--good)}
.chip.failed,.chip.lost,.chip.high{color:var(--bad);border-color:var(--bad)}
.chip.rejected,.chip.medium{color:var(--warn);border-color:var(--warn)}
.chip.low{color:var(--c0);border-color:var(--c0)}
.events{max-height:520px;overflow-y:auto}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:0 16px}
footer{color:var(--soft);font-size:13px;margin-top:18px;overflow-wrap:anywhere}footer p{margin:2px 0}
@media(max-width:700px){.wide{display:none}.narrow{display:block}main{padding:18px 10px 30px}section{padding:14px 12px}
.scroll>table{min-width:560px}td.text{min-width:15rem}.columns{grid-template-columns:1fr}.cards{grid-template-columns:repeat(2,1fr)}}
@media print{body{background:#fff}.events{max-height:none}section{break-inside:avoid}}
"""
