"""Files and lists of texts as sides: what is read, what is skipped, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.sides import open_side
from genmetrics_rt.texts import TextSource


def opened(side: object) -> TextSource:
    source = open_side(side)
    assert isinstance(source, TextSource)
    return source


def texts_of(source: TextSource) -> list[str]:
    return [source.text(row) for row in range(len(source))]


def test_a_text_a_line_and_empty_lines_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "gen.txt"
    file.write_bytes("\ufefferste\r\n\r\nzwei te\n \t\ndritte\u2028Zeile\rvierte".encode())
    source = opened(str(file))
    assert texts_of(source) == ["erste", "zwei te", "dritte\u2028Zeile", "vierte"]
    assert [source.entry_name(row) for row in range(4)] == ["line 1", "line 3", "line 5", "line 6"]
    assert [(entry.name, entry.reason) for entry in source.skipped] == [
        ("line 2", "an empty line"),
        ("line 4", "an empty line"),
    ]


def test_json_lines_by_field_or_as_strings(tmp_path: Path) -> None:
    file = tmp_path / "gen.jsonl"
    lines = [{"text": "one"}, {"text": 2}, {"other": "x"}, {"text": ""}]
    file.write_text("\n".join([*map(json.dumps, lines), '"bare"', "{broken", "[1]"]))
    source = opened(str(file))
    assert texts_of(source) == ["one", "bare"]
    assert [entry.name for entry in source.skipped] == ["line 2", "line 3", "line 4", "line 6", "line 7"]
    assert "not JSON" in source.skipped[3].reason and "no field 'text'" in source.skipped[1].reason


def test_a_column_of_a_table_with_quoted_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "gen.csv"
    file.write_text('id,body\n1,"a, b\nc"\n\n2,d\n3\n', newline="")
    source = gm.read_texts(file, field="body")
    assert texts_of(source) == ["a, b\nc", "d"]
    assert [source.entry_name(row) for row in range(2)] == ["line 2", "line 5"]
    assert [(entry.name, entry.reason.split(":")[0]) for entry in source.skipped] == [
        ("line 4", "an empty line"),
        ("line 6", "no column 'body'"),
    ]
    tabbed = tmp_path / "gen.tsv"
    tabbed.write_text("text\tn\nx, y\t1\n")
    assert texts_of(opened(str(tabbed))) == ["x, y"]


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), np.array(["a", "b"])])
def test_lists_of_str(value: object) -> None:
    source = opened(value)
    assert texts_of(source) == ["a", "b"] and source.entry_name(1) == "text 1"


def test_digests_are_of_the_text_alone(tmp_path: Path) -> None:
    file = tmp_path / "gen.txt"
    file.write_text("x\n\nsame\n")
    assert opened(str(file)).digest(1) == opened(["same"]).digest(0) != opened(["Same"]).digest(0)
    assert len(opened([json.loads('"\\ud800 alone"')]).digest(0)) == 64  # half a surrogate pair is no UTF-8


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"ok\n\x00\x01", "zero byte in line 2"),
        ("a.txt", "é".encode("latin-1") + b"\n", "line 1 has the byte 0xe9"),
        ("a.txt", b"a\r\nb\r\n" + "ü".encode("latin-1"), "line 3 has the byte 0xfc"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.jsonl", b'{"body": "x"}\n', "no field 'text'. It has 'body'"),
        ("a.csv", b"body,n\nx,1\n", "no column 'text' in its first row. It has 'body', 'n'"),
        ("a.csv", b'text\n"open\n', "no table that can be read"),
        ("a.csv", b"", "It has none"),
        ("a.jsonl", b"{}\n", "It has none"),
    ],
)
def test_what_is_no_file_of_texts_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(gm.InputError, match=words.replace(".", r"\.")):
        open_side(str(tmp_path / name))


def test_other_refusals(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(gm.InputError, match="no fields"):
        gm.read_texts(tmp_path / "a.txt", field="text")
    with pytest.raises(gm.InputError, match="does not exist"):
        gm.read_texts(tmp_path / "b.txt")
    with pytest.raises(gm.InputError, match="no file of texts"):
        gm.read_texts(tmp_path / "a.docx")
    with pytest.raises(gm.InputError, match="names of image files"):
        open_side(["out/1.png", "out/2.PNG"])
    assert "longer than" in opened(["x", "y" * 1_000_001]).skipped[0].reason


def test_the_example_has_two_halves_without_a_common_sentence() -> None:
    example = gm.example_texts("sentences")
    halves = [
        {text for text, own in zip(example.texts, example.is_reference, strict=True) if own is side}
        for side in (True, False)
    ]
    assert len(halves[0]) == len(halves[1]) == 640 and not halves[0] & halves[1]
    assert len(set(example.topics)) == 8
    assert texts_of(opened("sentences")) == [
        t for t, own in zip(example.texts, example.is_reference, strict=True) if own
    ]
    with pytest.raises(gm.InputError, match="sentences"):
        gm.example_texts("sonnets")
