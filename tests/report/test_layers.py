"""The table of what trained shows itself as text and as HTML."""

from __future__ import annotations

from headstart.report.layers import LayerTable
from headstart.types import LayerRow

from . import records

ROWS = [LayerRow("embeddings", 1_200, 0.0, None, 0.0, 0.0), LayerRow("layer", 300, 0.5, 1e-4, 0.0123, 0.25)]


def test_the_text_has_aligned_columns_and_is_what_printing_shows() -> None:
    head = LayerRow("head", 20, 1.0, None)
    table = LayerTable([*ROWS, head])
    assert str(table) == repr(table) == table.text()
    assert table.text().splitlines() == [
        "layer       parameters  trains         rate  change  drift",
        "embeddings       1,200      0%            -   0.00%  0.000",
        "layer              300     50%     1.00e-04   1.23%  0.250",
        "head                20    100%  closed form       -      -",
    ]
    assert table == [*ROWS, head], "it is a list of rows"


def test_change_and_drift_are_left_out_where_nothing_was_measured() -> None:
    table = LayerTable([LayerRow("a", 1, 0.0, None)])
    assert table.text().splitlines() == ["layer  parameters  trains  rate", "a               1      0%     -"]
    assert LayerTable([LayerRow("a", 1, 1.0, 0.0)]).text().endswith("100%  by search"), "a rate that is yet to be found"
    assert LayerTable([]).text() == "layer  parameters  trains  rate"


def test_names_of_layers_are_escaped_in_html() -> None:
    shown = LayerTable(records.hostile().trained)._repr_html_()
    assert "<script" not in shown and "<img" not in shown and shown.count("<tr>") == 2
