import codecs

import pytest

from segplugins.files.faults import Collect, FaultError
from segplugins.files.text import read_lines, read_text, read_yaml


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_text_of_any_system_is_the_same_text(file, mark, end):
    path = file(mark + "häuser".encode() + end + b" sky " + end)
    assert read_text(path) == "häuser\n sky \n"
    assert read_lines(path) == ["häuser", "sky"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("sky".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "sky".encode("utf-16-be"), "is UTF-16"),
        ("sky".encode("utf-32"), "is UTF-32"),
        ("sky".encode("utf-16-le"), "is binary, or UTF-16 without a byte order mark"),
        ("sky\nhäuser".encode("latin-1"), "is not UTF-8 .byte 0xe4 in line 2.; save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(file, content, message):
    path = file(content)
    with pytest.raises(FaultError, match=f"^{path}: the text file {message}"):
        read_text(path)
    collected = Collect()
    assert read_text(path, collected) is None and read_lines(path, collected) == []
    assert [fault.kind for fault in collected.faults] == ["encoding"] * 2


def test_a_file_that_is_not_there_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.txt: the list does not exist"):
        read_lines(tmp_path / "gone.txt")
    with pytest.raises(FaultError, match="the text file cannot be read"):
        read_text(tmp_path)


def test_yaml_runs_no_code_and_keeps_every_key(file):
    assert read_yaml(file(codecs.BOM_UTF8 + b"a: [1, x]\r\nb: {a: null}\r\n")) == {
        "a": [1, "x"],
        "b": {"a": None},
    }
    for content, message in (
        (b"a: [", "is not readable: .*line 1"),
        (b"a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (b"a: 1\nb: {c: 1, c: 2}", "key 'c' stands twice, again in line 2"),
        (b"a: " + b"[" * 5000, "is not readable"),
    ):
        with pytest.raises(FaultError, match=message):
            read_yaml(file(content))


def test_yaml_merges_are_no_repetition(file):
    content = b"base: &base {a: 1, b: 2}\nnext: {<<: *base, a: 3}\n"
    assert read_yaml(file(content))["next"] == {"a": 3, "b": 2}


@pytest.mark.parametrize("inside", ["kind: {}", "sets: {{a: {}}}", "vocabulary: [[{}]]"])
def test_yaml_that_repeats_itself_by_the_million_is_refused(tmp_path, inside):
    # 9 ** 8 values in nine lines: a message that shows them would never end.
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 8):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, inside.format("*a7")]))
    with pytest.raises(FaultError, match="its anchors make [0-9]+ values of it, expected at most"):
        read_yaml(path)
    path.write_text(inside.format("&a [*a]"))
    with pytest.raises(FaultError, match="an anchor is part of itself"):
        read_yaml(path)


def test_yaml_may_repeat_a_part_by_an_anchor(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("base: &b {x: [1, 2]}\nmore: {<<: *b, y: 3}\nsame: *b")
    assert read_yaml(path)["more"] == {"x": [1, 2], "y": 3}


@pytest.mark.parametrize(
    "content, message",
    [
        ("a: [1, 2\nb: 3\n", r"line 2, column 2: expected ',' or '\]', but got ':' .*in line 1\)"),
        ("a: 1\n\tb: 2\n", "line 2, column 1: a tab; YAML files are indented by bl"),
        ('a: "open\n', "line 2, column 1: found unexpected end of stream"),
        ("a: *nothing\n", "line 1, column 4: found undefined alias 'nothing'"),
    ],
)
def test_broken_yaml_is_told_with_file_line_and_column(file, content, message):
    path = file(content.encode())
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value) and "unicode string" not in str(error.value)
