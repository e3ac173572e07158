"""Tables that people bring and that we write: CSV as any spreadsheet saves it, and XLSX.

Every cell stays text: ``007``, ``2024_05_01`` and ``N/A`` are what was typed.
"""

import codecs
import csv
import zipfile
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from skingpt4.common.errors import UserError
from skingpt4.common.files import write_atomically

DELIMITERS = ",;\t|"
# Excel's "Unicode text" is UTF-16 with a byte order mark; a mark of UTF-8 is no part of a name.
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def read_table(
    path: str | Path, required: Sequence[str] = (), error: type[UserError] = UserError
) -> pd.DataFrame:
    """Read a table whole: every cell as text without blanks around it, empty cells as "".

    The delimiter is read from the header. Empty rows are left out.

    Args:
        path: A CSV file (comma, semicolon, tab or bar; UTF-8 or UTF-16), or an XLSX file, of which
            the first sheet is read.
        required: Columns that must be there.
        error: What to raise.

    Returns:
        The rows. The index, named ``line``, is each row's number as a spreadsheet counts it: the
        header is line 1.

    Raises:
        UserError: Of the type given, if the file is missing, unreadable or empty, if a row has more
            cells than the header, or if a column is missing or there twice.
    """
    place = Path(path)
    if not place.is_file():
        raise error(f"The table '{place}' does not exist; check the path.")
    try:
        cells = _read_cells(place, required)
    except (UnicodeError, ValueError, KeyError, OSError, csv.Error, zipfile.BadZipFile) as reason:
        detail = str(reason).strip().splitlines()[0] if str(reason).strip() else "it is empty"
        raise error(
            f"The table '{place}' cannot be read ({detail}); save it as UTF-8 CSV or as XLSX."
        ) from None
    cells = cells.fillna("").map(lambda cell: str(cell).strip())  # as wide as the widest row
    cells.index = pd.RangeIndex(1, len(cells) + 1, name="line")
    cells = cells[(cells != "").any(axis=1)]
    if cells.empty:
        raise error(f"The table '{place}' is empty; its first row must name the columns.")
    header, rows = cells.iloc[0], cells.iloc[1:]
    # Spreadsheets write empty columns behind the last one; a cell there is one too many.
    named = [position for position, name in enumerate(header) if name]
    width = max(named) + 1
    surplus = rows.loc[(rows.iloc[:, width:] != "").any(axis=1)]
    if len(surplus):
        raise error(
            f"Line {surplus.index[0]} of '{place.name}' has more cells than the {width} columns of "
            "the header; put quotes around text that holds the delimiter."
        )
    rows = rows.iloc[:, :width].set_axis(list(header.iloc[:width]), axis=1)
    doubled = sorted({name for name in rows.columns if name and (rows.columns == name).sum() > 1})
    missing = [name for name in required if name not in rows.columns]
    if doubled:
        raise error(f"'{place.name}' has several columns named '{doubled[0]}'; rename all but one.")
    if missing:
        raise error(
            f"'{place.name}' has no column {', '.join(missing)} (it has: "
            f"{', '.join(filter(None, rows.columns))}); add it."
        )
    return rows


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without its index, atomically: XLSX where the path ends so, else UTF-8 CSV."""
    if Path(path).suffix.lower() == ".xlsx":
        write_atomically(path, lambda file: table.to_excel(file, index=False, engine="openpyxl"))
    else:
        write_atomically(path, lambda file: table.to_csv(file, index=False, lineterminator="\n"))


def _read_cells(path: Path, required: Sequence[str]) -> pd.DataFrame:
    """Read the cells of a file, header included, as wide as the widest row."""
    if path.suffix.lower() == ".xlsx":
        # "NA" and "nan" are text in a workbook, too.
        return pd.read_excel(path, header=None, dtype=object, keep_default_na=False, na_values=[""])
    content = path.read_bytes()
    encoding = next((e for mark, e in MARKS.items() if content.startswith(mark)), "utf-8")
    text = content.decode(encoding)
    headers = {
        delimiter: [
            cell.strip() for cell in next(csv.reader(StringIO(text), delimiter=delimiter), [])
        ]
        for delimiter in DELIMITERS
    }
    # The delimiter that yields the columns asked for, else the one that yields most columns.
    delimiter = max(DELIMITERS, key=lambda d: (len({*required} & {*headers[d]}), len(headers[d])))
    # Row by row, since pandas' own parser takes a first surplus cell for an index, without a word.
    rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True))
    return pd.DataFrame(rows, dtype=object)
