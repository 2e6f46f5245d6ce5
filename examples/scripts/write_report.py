"""Write what was found as Markdown.

context: python (a version), summary (the result of combine_analyses.py). result: the report, as text.
"""

BAR = 24

summary, totals = context["summary"], context["summary"]["totals"]


def share(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "–"


def table(head, rows):
    """The first column to the left, the others to the right; padded, so that it reads well unrendered too."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]

    def line(cells):
        padded = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(texts[0]), rule, *(line(row) for row in texts[1:])])


def bars(pairs):
    most = max(count for _, count in pairs)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(
        f"{name.ljust(width)}  {'█' * max(1, round(BAR * count / most))} {count:,}" for name, count in pairs
    )


packages = sorted(summary["packages"].items(), key=lambda item: -item[1]["lines"])[:10]
strings = dict(summary["strings"])

result = f"""\
# The standard library of Python {context["python"]}

{totals["modules"]:,} modules, {totals["lines"]:,} lines, {totals["classes"]:,} classes, {
    totals["functions"]:,} functions.
{share(totals["documented"], totals["functions"])} of the functions have a docstring, \
{share(totals["annotated"], totals["functions"])} have a type annotation.

## The largest packages

{
    table(
        ["package", "modules", "lines", "functions", "with docstring", "annotated"],
        [
            [
                name,
                of["modules"],
                of["lines"],
                of["functions"],
                share(of["documented"], of["functions"]),
                share(of["annotated"], of["functions"]),
            ]
            for name, of in packages
        ],
    )
}

## The longest functions

{table(["function", "lines", "where"], [[f["name"], f["lines"], f["where"]] for f in summary["longest"]])}

## The largest modules

{
    table(
        ["module", "lines", "functions", "classes"],
        [[m["path"], m["lines"], m["functions"], m["classes"]] for m in summary["largest"]],
    )
}

## Who is imported by most modules

```
{bars(summary["imports"])}
```

## Three generations of putting text together

```
{bars(summary["strings"])}
```
"""

if summary["skipped"]:
    result += "\nNot read: " + "; ".join(summary["skipped"]) + "\n"
