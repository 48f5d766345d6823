"""How much text each row of a table holds, told before any of it is unpacked, and the plain form of its columns."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

# What a number, a date or an absent value counts as.
VALUE_BYTES = 8


def row_bytes(batch: "pa.RecordBatch") -> "np.ndarray[Any, Any]":
    """Return the bytes of text and values in each row, int64, with the entries of dictionaries counted every time."""
    import numpy as np

    return sum((_bytes_of(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64))


def plain(array: "pa.Array") -> "pa.Array":
    """Return the column without dictionaries and extension types, and with points in time as whole numbers."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    wanted = _plain_type(kind)
    return array if wanted == kind else array.cast(wanted)


def _bytes_of(array: "pa.Array") -> "np.ndarray[Any, Any]":
    import numpy as np
    import pyarrow as pa

    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _bytes_of(array.storage)
    if pa.types.is_dictionary(kind):
        sizes = _bytes_of(array.dictionary)
        sizes = np.append(sizes, 0)  # for what is absent
        return sizes[np.where(_is_there(array.indices), _numbers(array.indices), -1)]
    if pa.types.is_struct(kind):
        return sum((_bytes_of(field) for field in array.flatten()), np.zeros(len(array), np.int64))
    if pa.types.is_map(kind):
        pair = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _bytes_in_lists(array.cast(pa.list_(pair)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _bytes_in_lists(array)
    return _bytes_of_values(array)


def _bytes_in_lists(array: "pa.Array") -> "np.ndarray[Any, Any]":
    import numpy as np
    import pyarrow.compute as pc

    ends = np.cumsum(_numbers(pc.list_value_length(array)))
    before = np.concatenate([[0], np.cumsum(_bytes_of(array.flatten()))])
    return np.diff(before[ends], prepend=0)


def _bytes_of_values(array: "pa.Array") -> "np.ndarray[Any, Any]":
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, count = array.type, len(array)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        # Each value is described by 16 bytes, of which the first four are its length.
        described = np.frombuffer(array.buffers()[1], np.int32)[4 * array.offset :: 4][:count]
        return np.where(_is_there(array), described, 0)
    if kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        return _numbers(pc.binary_length(array))
    if pa.types.is_run_end_encoded(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        raise NotImplementedError(f"its columns of type {kind} are not")  # a value can stand for any number of others
    return np.full(count, VALUE_BYTES, np.int64)


def _numbers(array: "pa.Array") -> "np.ndarray[Any, Any]":
    """Return whole numbers, absent ones as 0. pyarrow's own ways to do so import pandas, which takes half a second."""
    import numpy as np
    import pyarrow as pa

    kind, values = array.type, array.buffers()[1]
    code = f"{'u' if pa.types.is_unsigned_integer(kind) else 'i'}{kind.bit_width // 8}"
    numbers = np.frombuffer(values or b"", code)[array.offset :][: len(array)].astype(np.int64)
    return np.where(_is_there(array), numbers, 0)


def _is_there(array: "pa.Array") -> "np.ndarray[Any, Any]":
    import numpy as np

    if not array.null_count:
        return np.ones(len(array), bool)
    bits = np.frombuffer(array.buffers()[0], np.uint8)
    return np.unpackbits(bits, bitorder="little")[array.offset :][: len(array)].astype(bool)


def _plain_type(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind.fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind
