"""The table of what trained, as text and as HTML: layer, parameters, share that trained, rate, and how far it moved."""

from __future__ import annotations

from html import escape

from headstart.report import wording
from headstart.types import LayerRow

_HEADERS = ("layer", "parameters", "trains", "rate", "change", "drift")


class LayerTable(list[LayerRow]):
    """Layer rows that show themselves: ``print`` them, or leave them as the last line of a notebook cell."""

    def text(self) -> str:
        """The table with aligned columns; change and drift only where they were measured."""
        lines = self.cells()
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(line, widths))
            ).rstrip()
            for line in lines
        )

    def cells(self) -> list[tuple[str, ...]]:
        """The header and the rows as text."""
        moved = any(row.change is not None or row.drift is not None for row in self)
        lines = [_HEADERS, *map(_cells, self)]
        return lines if moved else [line[:4] for line in lines]

    __str__ = __repr__ = text

    def _repr_html_(self) -> str:
        first, *rest = [[escape(cell) for cell in line] for line in self.cells()]
        head = "".join(f"<th>{cell}</th>" for cell in first)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in rest)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: LayerRow) -> tuple[str, ...]:
    rate = f"{row.rate:.2e}" if row.rate is not None else "closed form" if row.share else "-"
    rate = "by search" if row.rate == 0 and row.share else rate  # a plan shows it before the search
    change = "-" if row.change is None else f"{row.change:.2%}"
    drift = "-" if row.drift is None else f"{row.drift:.3f}"
    return wording.one_line(row.layer), f"{row.parameters:,}", f"{wording.part(row.share)}%", rate, change, drift
