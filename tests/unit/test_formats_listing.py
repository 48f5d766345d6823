"""Which files of a folder are read."""

import datasets
import pytest

from ollamake.data.formats.listing import is_data_file, list_files
from ollamake.errors import DataError
from tests.reading import rows_of


@pytest.fixture
def folder(tmp_path):
    def fill(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}\n")
        return tmp_path

    return fill


def names_in(folder, pattern="all"):
    return [path.relative_to(folder).as_posix() for path in list_files(folder, pattern)]


def test_all_are_the_files_of_a_known_format_in_their_order(folder):
    data = ["b.jsonl", "a/2.CSV", "a/10.tsv.gz", "a/b/c.parquet", "z.json", "z.ndjson.zst", "z.feather", "z.arrow"]
    other = ["README.md", "sources.yaml", ".gitattributes", ".cache/a.jsonl", "dataset_info.json", "a.txt", "a.gz"]
    assert names_in(folder(*data, *other)) == sorted(data)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("train-*.jsonl", ["deep/train-2.jsonl", "train-1.jsonl"]),
        ("deep/*", ["deep/test.txt", "deep/train-2.jsonl"]),
        ("**/*.txt", ["deep/test.txt", "notes.txt"]),
        ("train-[2-9].*", ["deep/train-2.jsonl"]),
    ],
)
def test_a_pattern_chooses_by_path_or_name_and_any_suffix(folder, pattern, names):
    folder = folder("train-1.jsonl", "deep/train-2.jsonl", "deep/test.txt", "notes.txt", "deep/.hidden.txt")
    assert names_in(folder, pattern) == names


def test_a_file_is_itself_whatever_the_pattern(folder):
    assert list_files(folder("a.txt") / "a.txt", "*.jsonl") == [folder() / "a.txt"]


@pytest.mark.parametrize(
    ("names", "pattern", "problem"),
    [
        ([], "all", "holds no data file: it is empty"),
        (["README.md"], "all", "holds no data file: it holds README.md"),
        (list("abcdefg"), "x*", "holds nothing that fits 'x*': it holds a, b, c, d, e and 2 more"),
        (["a.jsonl"], "../*", "holds nothing that fits '../*': it holds a.jsonl"),
    ],
)
def test_nothing_that_fits_is_an_error_that_names_what_is_there(folder, names, pattern, problem):
    with pytest.raises(DataError) as error:
        list_files(folder(*names), pattern)
    assert (error.value.problem, error.value.where) == (problem, str(folder()))
    assert "data_files in params.yaml" in error.value.hint


def test_an_empty_shard_is_refused(folder):
    (folder("a.jsonl") / "b.jsonl").touch()
    with pytest.raises(DataError, match="is empty"):
        list_files(folder(), "all")


def test_a_saved_data_set_is_its_arrow_files_in_their_order(tmp_path):
    data = datasets.Dataset.from_list([{"instruction": f"{number}", "output": "say"} for number in range(30)])
    data.select(range(9, -1, -1)).save_to_disk(tmp_path / "one", num_shards=3)
    splits = {"train": data.select(range(20)), "test": data.select(range(20, 30))}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "two")
    one, two = (
        [row for path in list_files(tmp_path / name, "all") for _, row in rows_of(path)] for name in ("one", "two")
    )
    assert one == data.select(range(9, -1, -1)).to_list()
    assert two == data.to_list()
    assert names_in(tmp_path / "two", "test/*.arrow") == ["test/data-00000-of-00001.arrow"]


def test_a_selection_beside_a_saved_data_set_is_refused(folder):
    (folder("a.arrow") / "state.json").write_text(
        '{"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [1]}'
    )
    with pytest.raises(DataError, match="a selection of rows"):
        list_files(folder(), "all")


def test_a_state_that_is_none_of_a_data_set_is_passed_over(folder):
    folder("a.jsonl", "dataset_dict.json")
    (folder() / "state.json").write_text('["torn')
    assert names_in(folder()) == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data/train-00000.parquet", True),
        ("./a.jsonl.gz", True),
        ("a.JSON", True),
        (".git/a.json", False),
        ("dataset_infos.json", False),
        ("README.md", False),
        ("load.py", False),
        ("a.tar.gz", False),
    ],
)
def test_a_data_file_is_told_by_its_path(name, expected):
    assert is_data_file(name) is expected
