"""Arrow columns in the few types the rest of Headstart knows.

Dictionaries become their values, decimals and half floats become float, NaN becomes missing, bytes that are text
become strings, an image struct ``{bytes, path}`` becomes its bytes, else its path. Pandas' index columns go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def table(rows: pa.Table) -> pa.Table:
    """A table in plain types; columns that are plain already are not copied."""
    import pyarrow as pa

    names = [name for name in rows.column_names if not _index(name)]
    arrays = []
    for name in names:
        chunks = [column(chunk) for chunk in rows.column(name).chunks]
        types = {chunk.type for chunk in chunks}
        if len(types) > 1:  # only some chunks of a binary column are text
            chunks = list(rows.column(name).chunks)
        arrays.append(pa.chunked_array(chunks) if chunks else pa.chunked_array([column(_none(rows, name))]))
    return pa.table(arrays, names=names)


def batch(rows: pa.RecordBatch) -> pa.RecordBatch:
    """A batch in plain types."""
    import pyarrow as pa

    names = [name for name in rows.schema.names if not _index(name)]
    return pa.RecordBatch.from_arrays([column(rows.column(name), stable=True) for name in names], names=names)


def _index(name: str) -> bool:
    return name.startswith("__index_level_")


def _none(rows: pa.Table, name: str) -> pa.Array:
    import pyarrow as pa

    return pa.array([], rows.schema.field(name).type)


def column(values: pa.Array, stable: bool = False) -> pa.Array:
    """One array in a plain type. ``stable``: the type may depend on the type alone, not on the values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    is_ = pa.types
    if is_.is_dictionary(kind):
        return column(values.dictionary_decode(), stable)
    if is_.is_null(kind):
        return pc.cast(values, pa.string())
    if is_.is_decimal(kind):
        return pc.cast(values, pa.float64())
    if is_.is_float16(kind):
        return column(pc.cast(values, pa.float32()), stable)
    if is_.is_floating(kind):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
    if is_.is_large_string(kind) or kind == pa.string_view():
        return pc.cast(values, pa.string())
    if is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pc.cast(values, pa.list_(kind.value_type))
    if is_.is_struct(kind) and {"bytes", "path"} == {field.name for field in kind}:
        content = pc.struct_field(values, "bytes")
        return content if stable or content.null_count < len(content) else pc.struct_field(values, "path")
    if is_.is_date(kind):
        return pc.cast(values, pa.timestamp("us"))
    if is_.is_binary(kind) and not stable:
        try:
            return pc.cast(values, pa.string())
        except pa.ArrowInvalid:
            return values
    return values
