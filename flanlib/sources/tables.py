"""Read the rows of tables: parquet, the Arrow files that ``datasets`` saves, CSV and TSV."""

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from flanlib.records import FlanError, clip
from flanlib.tally import Tally

BATCH = 1024
LONGEST_CELL = 1 << 26  # in characters; the csv module's own limit is shorter than many a conversation
Rows = Iterator[tuple[str, Any]]


def parquet(file: BinaryIO, label: str) -> Rows:
    """Yield (where, row) of a parquet file. Raises FlanError for an invalid one."""
    import pyarrow.parquet

    return _table(lambda: pyarrow.parquet.ParquetFile(_seekable(file)).iter_batches(BATCH), label, "parquet")


def arrow(file: BinaryIO, label: str) -> Rows:
    """Yield (where, row) of an Arrow file, of the stream format (which ``datasets`` writes) or of the file format.

    Raises FlanError for an invalid or truncated file, after the rows before the error.
    """
    import pyarrow

    def batches() -> Iterator[Any]:
        whole = _seekable(file)
        is_file = whole.read(6) == b"ARROW1"
        whole.seek(0)
        if is_file:
            reader = pyarrow.ipc.open_file(whole)
            return (reader.get_batch(i) for i in range(reader.num_record_batches))
        return iter(pyarrow.ipc.open_stream(whole))

    return _table(batches, label, "Arrow")


def delimited(lines: Iterable[bytes], label: str, tally: Tally, *, delimiter: str = ",") -> Rows:
    """Yield (where, row) of a table in text, with its first line as the header. Cells stay text; an empty one is None.

    A row with more or fewer cells than the header is counted in the tally as dropped. Raises FlanError for a header
    that has a name twice, and, after the rows before the error, for a quoted cell without an end and for bytes that are
    not UTF-8.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line.decode("utf-8") for line in lines), delimiter=delimiter, strict=True)
    try:
        header = next(filter(None, reader), [])
        if twice := [name for name, n in Counter(header).items() if n > 1]:
            raise FlanError(label, found=f"the column {clip(twice[0])} twice", expected="a header of different names",
                            remedy="Rename a column; without a header, add one as the first line.")
        number = reader.line_num + 1
        for cells in reader:
            where, number = f"{label}:{number}", reader.line_num + 1
            if len(cells) == len(header):
                yield where, {name: cell or None for name, cell in zip(header, cells, strict=True)}
            elif cells:  # a blank line is no row
                tally.drop("not as many cells as the header has", where)
    except (csv.Error, UnicodeDecodeError) as error:
        what = "bytes that are not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise FlanError(label, found=f"an invalid table (after line {reader.line_num}: {what})",
                        expected="cells of UTF-8 text, with quotes around a cell that holds quotes or line breaks",
                        remedy="Save the table again, in case its end is missing.") from error


def _table(batches: Any, label: str, kind: str) -> Rows:
    """Yield the rows of Arrow's record batches."""
    import pyarrow

    i = 0
    try:
        for batch in batches():
            batch.validate(full=True)  # a wrong offset would read outside the file's memory
            encoded = {field.name: field.type for field in batch.schema if "arrow.json" in str(field.type)}
            for row in batch.to_pylist():
                yield f"{label}[{i}]", row | {name: _decoded(row[name], type) for name, type in encoded.items()}
                i += 1
    except (pyarrow.ArrowException, ValueError, OSError, MemoryError) as error:  # a wrong length asks for all memory
        raise FlanError(label, found=f"an invalid {kind} file ({error})", expected=f"a complete {kind} file",
                        remedy="Fetch the file again.") from error


def _decoded(value: Any, type: Any) -> Any:
    """Parse the JSON text in a column. ``datasets`` writes it for values of mixed types, and marks it in the schema."""
    import pyarrow

    if value is None:
        return None
    if isinstance(type, pyarrow.JsonType):
        return json.loads(value)
    if pyarrow.types.is_struct(type):
        return {field.name: _decoded(value[field.name], field.type) for field in type}
    if isinstance(value, list):
        return [_decoded(item, type.value_type) for item in value]
    return value


def _seekable(file: BinaryIO) -> BinaryIO:
    return io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file
