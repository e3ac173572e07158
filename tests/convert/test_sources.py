"""Every source is read in its own form; labels and counts are the published ones."""

import csv
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skingpt4.common.errors import DatasetError
from skingpt4.convert.sources import SOURCES
from skingpt4.convert.sources.lookup import CLASS_NAMES, SourceFiles, read_labels, skin_type
from skingpt4.convert.sources.own import COLUMNS
from skingpt4.convert.sources.public import PUBLIC
from skingpt4.dermatology import CLASSES, CONCEPTS
from tests.conftest import TEST_DATA

REAL = pytest.mark.skipif(
    not (TEST_DATA / "annotations").is_dir(), reason="no real tables here; see CONTRIBUTING.md"
)
TABLES = ("dermnet", "fitzpatrick17k", "ham10000", "isic", "pad_ufes_20", "scin", "ddi")
MELANOMA, BENIGN = CLASSES[8].name, CLASSES[7].name


@pytest.fixture
def table(tmp_path):
    """Write a table; ``lines`` are rows of cells, the first being the header."""

    def write(*lines, name="table.csv"):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
        return tmp_path / name

    return write


@pytest.fixture
def photos(tmp_path):
    """Write small photos under names, and return their folder."""

    def write(*names):
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
        return tmp_path / "photos"

    return write


def read(source, tables=(), images=(), **options):
    return list(SOURCES[source].read(SourceFiles(images, tables, **options)))


def real(source, *names):
    return read(source, [path for name in names for path in TEST_DATA.glob(f"annotations/{name}")])


@pytest.mark.parametrize("name", TABLES)
def test_label_tables_name_the_papers_classes_and_words(name):
    rows = read_labels(name)
    assert rows
    for label, (words, disease_class) in rows.items():
        assert words == words.strip() != "", label
        assert disease_class in ("", *CLASS_NAMES), label


@REAL
def test_skincon_has_the_papers_images_and_counts():
    """3230 Fitzpatrick17k and 656 DDI images (paper); its counts are the former's alone."""
    records = real("skincon", "skincon/*.csv")
    fitzpatrick = [r for r in records if "fitzpatrick17k" in r.place and not r.skip]
    ddi = [record for record in records if "ddi" in record.place]
    assert (len(fitzpatrick), len(ddi)) == (3230, 656)
    counts = Counter(name for record in fitzpatrick for name in record.concepts)
    differences = {c.name: counts[c.name] - c.count for c in CONCEPTS if counts[c.name] != c.count}
    assert differences == {"Plaque": 1, "Papule": 1, "Brown(Hyperpigmentation)": 1}
    assert all(record.concepts for record in records if not record.skip)


@REAL
@pytest.mark.parametrize(
    ("source", "table", "number", "known"),
    [
        ("fitzpatrick17k", "fitzpatrick17k/*.csv", 16577, 16577),
        ("ham10000", "ham10000/*.csv", 10015, 10015),
        ("isic", "isic2017/*.csv", 2000, 2000),
        ("pad_ufes_20", "pad_ufes_20/*.csv", 2298, 2298),
    ],
)
def test_every_row_of_the_real_tables_has_a_known_label(source, table, number, known):
    records = real(source, table)
    assert len(records) == number
    assert sum("is not in labels" not in record.skip for record in records) == known


@REAL
def test_real_fitzpatrick17k_rows_are_read_right():
    records = real("fitzpatrick17k", "fitzpatrick17k/*.csv")
    assert sum(record.skip == "marked as wrongly labelled" for record in records) == 17
    # The data set's own counts of its column fitzpatrick_scale; -1 is unknown.
    assert Counter(record.skin_type for record in records) == {
        "I": 2947, "II": 4808, "III": 3308, "IV": 2781, "V": 1533, "VI": 635, "": 565,
    }  # fmt: skip


@REAL
def test_real_groups_and_classes():
    nevi = [r for r in real("isic", "isic2017/*.csv") if r.label == "melanocytic nevus"]
    assert len(nevi) == 2000 - 374 - 254  # ISIC 2017: 374 melanomas, 254 seborrheic keratoses
    pad = real("pad_ufes_20", "pad_ufes_20/*.csv")
    assert len({record.group for record in pad}) == 1373  # PAD-UFES-20: 1373 patients
    assert len({r.group for r in real("ham10000", "ham10000/*.csv")}) == 7470  # HAM10000: lesions
    scin = real("scin", "scin/scin_*.csv")
    used = [record for record in scin if not record.skip]
    assert len({record.disease_class for record in used}) == 15
    assert max(Counter(record.group for record in scin).values()) <= 3


@REAL
def test_the_real_list_of_dermnet_falls_into_the_papers_classes(tmp_path):
    """Classes whose count in the paper is the public set's own must come out exactly."""
    lines = (
        (TEST_DATA / "annotations/dermnet_kaggle/train_paths_split.txt").read_text().splitlines()
    )
    names = [line for line in lines if line and not line.startswith("#")]
    for name in names:
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    records = read("dermnet", images=[tmp_path], disease_names=True)
    assert len(records) == len(names) == 15557
    counts = Counter(record.disease_class for record in records)
    papers = {entry.name: entry.step2_count for entry in CLASSES} | {"Others": 239}
    exact = {name for name, count in counts.items() if papers.get(name) == count}
    assert len(exact) == 9  # eight classes and Others
    assert {"Acne and rosacea", "Herpes", "Urticaria hives", "Others"} <= exact
    assert {record.split for record in records} == {"train"}
    assert sum(record.label == "psoriasis guttate" for record in records) == 96


def test_fitzpatrick_types_in_every_spelling():
    assert [skin_type(value) for value in ("3", "3.0", "FST3")] == ["III"] * 3
    assert [skin_type(value) for value in ("-1", "", "7", "2.5", "FST")] == [""] * 5


def test_photos_are_found_by_path_name_and_stem(table, photos):
    folder = photos("a/one.jpg", "two.png")
    files = SourceFiles([folder], [])
    assert files.find("a/one.jpg") == folder / "a" / "one.jpg"
    assert files.find("elsewhere/one.jpg") == files.find("one") == folder / "a" / "one.jpg"
    assert files.find("two.jpg") == folder / "two.png"
    assert files.find("") is None
    assert files.find("three.jpg") is None
    with pytest.raises(DatasetError, match="does not exist"):
        SourceFiles([folder / "absent"], []).find("x")


def test_ddi_and_isic_one_hot(table, photos):
    folder = photos("1.png", "ISIC_1.jpg", "ISIC_2.jpg")
    ddi = table(("DDI_file", "disease", "skin_tone"), ("1.png", "melanoma-in-situ", "56"))
    (record,) = read("ddi", [ddi], [folder])
    assert (record.label, record.disease_class) == ("melanoma in situ", MELANOMA)
    assert (record.skin_type, record.image) == ("V-VI", folder / "1.png")
    header = ("image", "MEL", "NV", "BKL", "UNK")
    isic = table(header, ("ISIC_1", "0.0", "0.0", "1.0", "0.0"), ("ISIC_2", 0, 0, 0, "1.0"))
    one, two = read("isic", [isic], [folder])
    assert (one.disease_class, one.skip) == (BENIGN, "")
    assert two.skip == "its label is not in labels/isic.csv"


def test_scin_takes_the_one_greatest_weight_and_keeps_cases_together(table, photos):
    folder = photos("p1.png", "p2.png", "p3.png")
    cases = table(
        ("case_id", "image_1_path", "image_2_path", "image_3_path"),
        ("7", "dataset/images/p1.png", "dataset/images/p2.png", ""),
        ("8", "dataset/images/p3.png", "", ""),
        name="cases.csv",
    )
    skin = [f"dermatologist_fitzpatrick_skin_type_label_{slot}" for slot in "123"]
    labels = table(
        ("case_id", "weighted_skin_condition_label", *skin),
        ("7", "{'Psoriasis': 0.6, 'Eczema': 0.4}", "FST2", "FST4", "FST4"),
        ("8", "{'Psoriasis': 0.5, 'Eczema': 0.5}", "", "", ""),
        name="labels.csv",
    )
    one, two, tied = read("scin", [labels, cases], [folder])
    assert (one.label, one.skin_type, one.group) == ("psoriasis", "IV", "7")
    assert (two.image, two.group) == (folder / "p2.png", "7")
    assert tied.skip == "no label has the greatest weight alone"


def test_skincon_joins_skin_types(table, photos):
    names = [concept.name for concept in CONCEPTS]
    marked = [int(name in ("Plaque", "Scale")) for name in names]
    header = ("", "ImageID", *names, "Do not consider this image")
    rows = (0, "aa.jpg", *marked, 0), (1, "bb.jpg", *marked, 1)
    annotations = table(header, *rows, name="annotations.csv")
    types = table(("md5hash", "fitzpatrick_scale"), ("aa", "5"), name="types.csv")
    used, refused = read("skincon", [types, annotations], [photos("aa.jpg")])
    assert (used.concepts, used.skin_type) == (("Plaque", "Scale"), "V")
    assert refused.skip.startswith("SKINCON says")


HEADERS = {
    "skincon": ("ImageID", "Do not consider this image", *(concept.name for concept in CONCEPTS)),
    "scin": ("case_id", "image_1_path", "weighted_skin_condition_label"),
    "csv": COLUMNS,
    **{name: row.columns or ("image", "MEL", "NV") for name, row in PUBLIC.items()},
}


@pytest.mark.parametrize("source", HEADERS)
@given(cells=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
@settings(max_examples=25, deadline=None)
def test_odd_cells_are_records_with_a_reason_not_a_crash(source, cells):
    header = HEADERS[source]
    row = dict(zip(header, [*cells, *("",) * len(header)], strict=False))
    row |= {"note": "so that the row is not empty"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([row, row.values()])
        for record in read(source, [path]):
            assert record.image is None
            assert record.place == "line 2 of table.csv"


def test_ones_own_table_may_name_its_columns_otherwise(table, photos):
    folder = photos("a.jpg")
    path = table(
        ("path", "diagnosis", "concepts", "fitzpatrick", "note", "patient"),
        ("a.jpg", "Plaque psoriasis", "Plaque; Scale", "IV", "Silvery scale, both elbows.", "p1"),
        ("a.jpg", "rash", "Plaq", "", "", "p1"),
        ("b.jpg", "rash", "", "", "", ""),
    )
    columns = {"image": "path", "label": "diagnosis", "caption": "note"}
    one, two, three = read("csv", [path], [folder], columns=columns)
    assert one.disease_class == "Psoriasis and lichen planus"
    assert (one.caption, one.concepts) == ("Silvery scale, both elbows.", ("Plaque", "Scale"))
    assert (one.skin_type, one.group) == ("IV", "p1")
    assert two.skip == "its concept 'Plaq' is none of SKINCON's 48"
    assert (three.image, three.disease_class) == (None, "")
    with pytest.raises(DatasetError, match="none of ours: image, caption"):
        read("csv", [path], [folder], columns={"picture": "path"})


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [("class", "Rash", "none of the 15"), ("split", "dev", "none of train, val, test")],
)
def test_unknown_values_of_ones_own_table_are_reasons(table, photos, column, value, reason):
    row = dict.fromkeys(COLUMNS, "") | {"image": "a.jpg", column: value}
    path = table(tuple(row), tuple(row.values()))
    (record,) = read("csv", [path], [photos("a.jpg")])
    assert f"'{value}'" in record.skip
    assert reason in record.skip


def test_folders_are_labels(photos):
    folder = photos("train/tinea_pedis/1.jpg", "val/tinea_pedis/2.jpg", "acne/x/3.jpg", "4.jpg")
    records = {record.place: record for record in read("folders", images=[folder])}
    assert set(records) == {"train/tinea_pedis/1.jpg", "val/tinea_pedis/2.jpg", "acne/x/3.jpg"}
    assert records["train/tinea_pedis/1.jpg"].label == "tinea pedis"
    assert [record.split for record in records.values()] == ["", "train", "val"]
    assert records["acne/x/3.jpg"].disease_class == "Acne and rosacea"
    with pytest.raises(DatasetError, match="folder of its own"):
        read("folders", images=[photos("only.jpg") / "acne" / "x"])


def test_dermnet_needs_its_folders(photos):
    with pytest.raises(DatasetError, match="No folder of Dermnet"):
        read("dermnet", images=[photos("acne/1.jpg")])
    folder = photos("Urticaria Hives/hives-urticaria-acute-3.jpg", "Urticaria Hives/06Hives1.jpg")
    plain = {record.label for record in read("dermnet", images=[folder])}
    named = {record.label for record in read("dermnet", images=[folder], disease_names=True)}
    assert (plain, named) == ({"urticaria"}, {"urticaria", "hives urticaria acute"})


def test_wrong_tables_are_one_sentence(table, tmp_path):
    path = table(("a", "b"), ("1", "2"))
    with pytest.raises(DatasetError, match="has the columns md5hash, label"):
        read("fitzpatrick17k", [path])
    with pytest.raises(DatasetError, match="no row below its header"):
        read("ddi", [table(("DDI_file", "disease", "skin_tone"))])
    with pytest.raises(DatasetError, match="does not exist"):
        read("ddi", [tmp_path / "absent.csv"])
    (tmp_path / "latin.csv").write_bytes(
        "DDI_file,disease\n1,Lupus érythémateux\n".encode("latin-1")
    )
    with pytest.raises(DatasetError, match="save it as UTF-8 CSV"):
        read("ddi", [tmp_path / "latin.csv"])
