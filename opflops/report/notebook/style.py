"""The style of what notebooks show: the colors of JupyterLab's or VS Code's theme, else as the system prefers."""

# What surrounds tables, in characters.
_PADDING = 5

STYLE = """
.opflops{font:12px/1.5
 var(--jp-code-font-family,var(--vscode-editor-font-family,ui-monospace,monospace));
--f:#1f2328;--b:#fff;--l:#d5d9de;--a:#2f6fb2;container-type:inline-size;max-width:100%;padding:2px 0}
@media (prefers-color-scheme:dark){.opflops{--f:#e8eaed;--b:#1b1d21;--l:#464b52;--a:#7fb4ee}}
.opflops .o{color:var(--jp-content-font-color1,var(--vscode-editor-foreground,var(--f)));
background:var(--jp-layout-color0,var(--vscode-editor-background,var(--b)));padding:6px 8px;
font:13px/1.45 system-ui,sans-serif;max-width:100%;box-sizing:border-box;overflow-x:auto;text-align:left}
.opflops p{margin:5px 0;max-width:100ch;overflow-wrap:anywhere;white-space:pre-wrap;color:inherit}
.opflops h4{font:600 13px/1.45 system-ui,sans-serif;margin:6px 0 2px;color:inherit;overflow-wrap:anywhere}
.opflops pre,.opflops .g{font:12px/1.5
 var(--jp-code-font-family,var(--vscode-editor-font-family,ui-monospace,monospace))}
.opflops pre{overflow-x:auto;white-space:pre;margin:4px 0;padding:0;color:inherit;background:none;border:0}
.opflops .g{max-width:100%;margin:2px 0 8px}
.opflops .r{display:flex;gap:0 2ch;padding:1px 4px;list-style:none;align-items:baseline}
.opflops summary.r::-webkit-details-marker{display:none}
.opflops .r>span{flex:0 0 var(--w);text-align:right;
overflow-wrap:anywhere;box-sizing:border-box}
.opflops .r>.l{flex-shrink:1;min-width:var(--m,18ch)}
.opflops .r>.n{text-align:left;flex-shrink:4;min-width:var(--o,14ch);flex-basis:var(--n);
padding-left:calc(var(--d,0)*1.6ch)}
.opflops .k .n{padding-left:calc(var(--d,0)*1.6ch + 1.8ch)}
.opflops .k summary>.n{text-indent:-1.8ch}
.opflops .k summary>.n::before{content:"\\25b8";display:inline-block;width:1.8ch;text-indent:0}
.opflops .k details[open]>summary>.n::before{content:"\\25be"}
.opflops summary{cursor:pointer;color:inherit}
.opflops .r:hover{background:color-mix(in srgb,
var(--jp-brand-color1,var(--vscode-charts-blue,var(--a))) 14%,transparent)}
.opflops .h,.opflops .m,.opflops .t{font-weight:600}
.opflops .h{border-bottom:1px solid var(--jp-border-color1,var(--vscode-panel-border,var(--l)))}
.opflops .t{border-top:1px solid var(--jp-border-color1,var(--vscode-panel-border,var(--l)))}
.opflops .s{background:linear-gradient(
var(--jp-brand-color1,var(--vscode-charts-blue,var(--a))) 0 0) 100% 100%/var(--s) 2px no-repeat}
.opflops .w{overflow-x:auto}.opflops .e{display:none}
.opflops .c>summary{font-weight:600;margin:4px 0 2px}
.opflops dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:1px 2ch;margin:2px 0 8px;padding:0}
.opflops dt{font-weight:600;margin:0;float:none;width:auto}
.opflops dd{margin:0;float:none;width:auto;padding:0;overflow-wrap:anywhere;white-space:pre-wrap}
@container (max-width:620px){.opflops .r>.x{display:none}
.opflops .r>.l{min-width:var(--m,9ch)}.opflops .r>.n{min-width:var(--o,10ch)}.opflops .e{display:block}
.opflops dl{grid-template-columns:minmax(0,1fr)}.opflops dd{padding-left:2ch}}
""".replace("\n", "")
"""Names and cells share the width of a line by ``--n`` and ``--w``; columns of the class ``x`` go first."""


def stacking_style(width: int) -> str:
    """Write the style of tables whose lines are taken apart below a width: a line for the name, and one for each cell.

    Args:
        width: In characters.
    """
    table = f".opflops .q{width}"
    return (
        f"@container (max-width:{width + _PADDING}ch){{{table} .h{{display:none}}{table} .r{{flex-wrap:wrap}}"
        f"{table} .r>span{{flex:1 0 100%;min-width:0}}{table} .r>[data-h]{{text-align:left;padding-left:3ch}}"
        f"{table} .r>[data-h]:empty{{display:none}}"
        f"{table} .r>[data-h]::before{{content:attr(data-h) ': ';font-weight:600}}}}"
    )
