# SPDX-License-Identifier: MIT
"""A table of a sweep as Markdown or LaTeX.

print(as_markdown(leaderboard(board)))
"""

import re

from .tables import Cell, Table


def as_markdown(table: Table) -> str:
    """A GitHub table under its title."""
    rule = ["---:" if i in table.right else "---" for i in range(len(table.heads))]
    lines = [[_markdown(head) for head in table.heads], rule]
    for row in table.rows:
        lines.append([f"**{_markdown(c.text)}**" if _bold(c) else _markdown(c.text) for c in row])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n\n{_markdown(note)}" for note in table.notes)
    return f"**{_markdown(table.title)}**\n\n{text}{notes}\n"


def as_latex(table: Table) -> str:
    """A table environment that needs no package."""
    align = "".join("r" if i in table.right else "l" for i in range(len(table.heads)))
    lines = [" & ".join(map(latex, table.heads)) + r" \\ \hline"]
    for row in table.rows:
        cells = [rf"\textbf{{{latex(c.text)}}}" if _bold(c) else latex(c.text) for c in row]
        lines.append(" & ".join(cells) + r" \\")
    body = "\n".join(lines)
    notes = "".join(f"\n\n{latex(note)}" for note in table.notes)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{latex(table.title)}}}\n"
        f"\\begin{{tabular}}{{{align}}}\n\\hline\n{body}\n\\hline\n\\end{{tabular}}{notes}\n"
        "\\end{table}\n"
    )


def _bold(cell: Cell) -> bool:
    return cell.best and bool(cell.text.strip())


_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\ldots{}",
    "[": "{[}",  # after \\ it would begin an optional argument
}


def latex(text: str) -> str:
    """The text with everything escaped that LaTeX would interpret."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _markdown(text: str) -> str:
    """The text with everything escaped that Markdown would interpret in a table."""
    one_line = " ".join(text.split())
    marks = re.sub(r"([\\`*\[\]<>|~&])", r"\\\1", one_line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", marks)
