"""Tables as spreadsheets save them: read whole, or refused with the line."""

import pandas as pd
import pytest

from skingpt4.common.errors import DatasetError, UserError
from skingpt4.common.tables import read_table, write_table

ROWS = [{"case": "007", "note": "Plaques, scale"}, {"case": "2024_05_01", "note": "N/A"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_delimiter_and_encoding_reads_the_same_text(tmp_path, delimiter, encoding):
    text = f'case{delimiter}note\n 007 {delimiter}"Plaques, scale"\n2024_05_01{delimiter}N/A\n'
    (tmp_path / "t.csv").write_text(text, encoding=encoding)
    assert read_table(tmp_path / "t.csv").to_dict("records") == ROWS


def test_a_workbook_reads_the_same_text(tmp_path):
    write_table(tmp_path / "t.xlsx", pd.DataFrame(ROWS))
    write_table(tmp_path / "t.csv", pd.DataFrame(ROWS))
    assert read_table(tmp_path / "t.xlsx").to_dict("records") == ROWS
    assert read_table(tmp_path / "t.csv").to_dict("records") == ROWS


def test_rows_are_numbered_as_a_spreadsheet_numbers_them(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,"two\nlines"\n,\n3,4\n', encoding="utf-8")
    table = read_table(tmp_path / "t.csv")
    assert list(table.index) == [2, 4]
    assert table.loc[2, "b"] == "two\nlines"


@pytest.mark.parametrize("line", [2, 3])
def test_a_surplus_cell_is_an_error_with_its_line(tmp_path, line):
    rows = ["1.jpg,psoriasis,Plaques", "2.jpg,acne,Papules"]
    rows[line - 2] += ", itchy"
    (tmp_path / "t.csv").write_text("\n".join(["image,label,caption", *rows]), encoding="utf-8")
    with pytest.raises(DatasetError, match=f"Line {line} of 't.csv' has more cells than the 3"):
        read_table(tmp_path / "t.csv", error=DatasetError)


def test_empty_cells_behind_the_last_column_are_none_too_many(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,,\n1,2,,\n3,4,,\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv").to_dict("list") == {"a": ["1", "3"], "b": ["2", "4"]}


def test_short_rows_end_in_empty_cells(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1\n", encoding="utf-8")
    assert read_table(tmp_path / "t.csv").to_dict("records") == [{"a": "1", "b": "", "c": ""}]


def test_the_columns_asked_for_settle_the_delimiter(tmp_path):
    (tmp_path / "t.csv").write_text("name, first;case\nA, B;1\n", encoding="utf-8")
    assert list(read_table(tmp_path / "t.csv", ["case"]).columns) == ["name, first", "case"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,a\n1,2\n", "several columns named 'a'"),
        (b"b\n1\n", "no column a"),
        (b"a\n\xff\xfe\xfd\n", "cannot be read"),
        (b'a,b\n"1,2\n', "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / "t.csv", ["a"])


def test_a_missing_file_and_a_broken_workbook_are_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK but no workbook")
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "t.xlsx")
