"""Rows are numbered as in an editor, faulty ones counted, and too many of them stop."""

import numpy as np
import pytest

from gazax.data.cache import describe
from gazax.data.sources.files import SourceFiles
from gazax.data.sources.tables import NAMED, Faults, Table
from gazax.typing import InputError


def read(tmp_path, text, required=("a", "b"), groups=(), max_bad_fraction=1.0, encoding="utf-8"):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    return Table(path, required, groups=groups, faults=Faults(max_bad_fraction))


def test_cells_are_stripped_and_blank_lines_do_not_count(tmp_path):
    table = read(tmp_path, " a ,b\n\n x , 2 \n,\n y,3\n")
    assert table.text("a") == ("x", "y")
    np.testing.assert_array_equal(table.numbers("b"), [2, 3])


def test_rows_are_numbered_as_an_editor_shows_them(tmp_path):
    table = read(tmp_path, 'a,b\n1,2\n\n"two\nlines",4\n5,6\n')
    assert [table.where(i) for i in range(3)] == ["t.csv row 2", "t.csv row 4", "t.csv row 6"]


def test_numbers_are_nan_where_there_is_none(tmp_path):
    table = read(tmp_path, "a,b\n1,x\n,2\nnan,1e3\n")
    np.testing.assert_array_equal(table.numbers("a"), [1, np.nan, np.nan])
    np.testing.assert_array_equal(table.numbers("b"), [np.nan, 2, 1000])


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_header(tmp_path):
    assert read(tmp_path, "a,b\n1,2\n", encoding="utf-8-sig").columns == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,c\n1,2\n", "t.csv row 1: column 'b' is missing; the header is 'a,c'"),
        ("a;b\n1;2\n", "column 'a' is missing"),
        ("a,b,a\n1,2,3\n", "column 'a' stands there twice"),
        ("", "t.csv is empty"),
        ("a,b\n", "t.csv has a header and no rows"),
        ('a,b\n"1,2\n', "t.csv cannot be read as csv"),
    ],
)
def test_structural_faults_stop_at_once(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_other_encodings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"t\.csv cannot be read as csv .*UTF-8"):
        read(tmp_path, "a,b\n1,é\n", encoding="latin-1")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"t\.csv is missing in"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())


def test_optional_columns_come_all_or_none(tmp_path):
    groups = (("x", "y"),)
    assert read(tmp_path, "a,b,z\n1,2,3\n", groups=groups).other_columns == ("z",)
    assert read(tmp_path, "a,b,x,y\n1,2,3,4\n", groups=groups).other_columns == ()
    with pytest.raises(InputError, match="column 'y' is missing"):
        read(tmp_path, "a,b,x\n1,2,3\n", groups=groups)


def test_row_of_another_length_is_left_out_and_counted(tmp_path):
    faults = Faults(1.0)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n4,5\n")
    table = Table(tmp_path / "t.csv", ("a",), faults=faults)
    assert table.text("a") == ("1", "4")
    assert faults.report()["t.csv"]["first"] == [
        "t.csv row 3: 1 cells where the header has 2; add or remove commas"
    ]


def test_a_row_is_struck_out_for_its_first_fault_only():
    faults = Faults(1.0)
    faults.add("t.csv", "one", "t.csv row 2: bad")
    assert faults.count("t.csv") == 1
    assert faults.count("other.csv") == 0


def test_leave_out_counts_each_row_once(tmp_path):
    table = read(tmp_path, "a,b\n1,2\n3,4\n")
    table.leave_out(np.array([True, False]), "first", lambda i: "x")
    table.leave_out(np.array([True, True]), "second", lambda i: "y")
    assert table._faults.report()["t.csv"]["reasons"] == {"first": 1, "second": 1}
    assert not table.good.any()


@pytest.mark.parametrize(("bad", "stops"), [(1, False), (2, True)])
def test_more_than_the_allowed_part_stops(bad, stops):
    faults = Faults(0.01)
    for row in range(bad):
        faults.add("t.csv", "why", f"t.csv row {row + 2}: wrong")
    if stops:
        with pytest.raises(InputError, match=r"2 of 100 rows are faulty \(2\.0%\)"):
            faults.check("t.csv", 100)
    else:
        faults.check("t.csv", 100)


def test_the_first_few_faults_are_listed():
    faults = Faults(0.0)
    for row in range(NAMED + 3):
        faults.add("t.csv", "why", f"t.csv row {row + 2}: wrong")
    with pytest.raises(InputError) as error:
        faults.check("t.csv", 100)
    assert "t.csv row 6: wrong" in str(error.value)
    assert "t.csv row 7" not in str(error.value)
    assert "... and 3 more" in str(error.value)


def test_allowed_part_lies_between_nothing_and_all():
    with pytest.raises(InputError, match="max_bad_fraction is 2"):
        Faults(2.0)


def test_folder_in_the_place_of_a_table_is_named(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(
        InputError, match=r"t\.csv is a folder; a csv file of that name is expected"
    ):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())


def test_table_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(InputError, match=r"t\.csv cannot be read \(Permission denied\)"):
        Table(tmp_path / "t.csv", ("a",), faults=Faults())
    (tmp_path / "t.csv").touch()
    with pytest.raises(InputError, match=r"t\.csv cannot be read \(Permission denied\)"):
        describe(SourceFiles(tables=(tmp_path / "t.csv",)), tmp_path)
