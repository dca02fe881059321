"""Text to records and back, for every text there is."""

from __future__ import annotations

import pytest
from fsagent.config import parse_config
from fsagent.errors import ConfigError
from fsagent.formats import (
    clean,
    format_message,
    format_page,
    format_record,
    load_yaml,
    one_line,
    parse_note,
    parse_page,
    parse_record,
    parse_trailers,
)
from fsagent.records import Record, ToolCall, Usage
from hypothesis import given
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
lines = st.lists(
    st.one_of(st.sampled_from(["---", "", "a: b", "- x", "limit: 3", " "]), text), max_size=6
).map("\n".join)
heads = st.sampled_from(
    [
        b"",
        b"\xef\xbb\xbf",
        b"---\nlimit: 3\n---\n",
        b"---\nlimit: 3\n---\n\n",
        b"---\r\nlimit: 3\r\n---\r\n",
        b"---\r\nlimit: 3\r\n---\r\n\r\n",
        b"---\n---\n",
        b"\xef\xbb\xbf---\nlimit: 3\n---\n",
        b"---\nlimit: [\n---\n",
        b"---\n",
    ]
)


@given(st.binary(max_size=80) | st.builds(lambda h, b: h + b.encode(), heads, lines))
def test_a_page_is_its_file_again(data: bytes) -> None:
    page = parse_page(data)
    if page.readable:
        assert (page.head + page.body).encode() == data


@given(heads, lines, lines)
def test_a_value_that_is_written_is_read_again(head: bytes, old: str, new: str) -> None:
    page = parse_page(head + old.encode())
    value = clean(new).rstrip("\n")
    again = parse_page(page.with_value(value).encode())
    assert again.value == value
    assert dict(again.meta) == dict(page.meta)


@given(heads, lines)
def test_writing_the_same_value_changes_nothing_but_the_end(head: bytes, body: str) -> None:
    data = head + body.encode()
    page = parse_page(data)
    again = page.with_value(page.value).encode()
    assert again.rstrip(b"\r\n") == data.rstrip(b"\r\n") or not page.value


@given(lines, st.lists(text.filter(str.strip), max_size=3))
def test_a_note_is_read_again(value: str, tags: list[str]) -> None:
    value = clean(value).rstrip("\n")
    note = parse_note(
        "archival/x.md", parse_page(format_page({"id": "a", "tags": tags}, value).encode())
    )
    assert note.text == value
    assert note.id == "a"


@given(
    st.builds(
        Record,
        id=text.filter(bool),
        ts=text,
        role=text.filter(bool),
        content=text,
        turn=text,
        name=st.none() | text,
        tool_calls=st.lists(st.builds(ToolCall, text, text, text), max_size=2).map(tuple),
        tool_call_id=st.none() | text,
        status=st.sampled_from([None, "success", "error"]),
        usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
        extra=st.dictionaries(st.sampled_from(["mood", "x"]), st.integers()),
    )
)
def test_a_record_is_one_line_and_read_again(record: Record) -> None:
    line = format_record(record)
    assert line.count("\n") == 1
    assert len(line.splitlines()) == 1
    assert parse_record(line) == record


@given(text, st.dictionaries(st.sampled_from(["Tool", "Turn", "Model"]), text))
def test_trailers_are_read_again_and_cannot_be_forged(
    subject: str, trailers: dict[str, str]
) -> None:
    found = parse_trailers(format_message(subject, trailers))
    assert found == {k: one_line(v, 200) for k, v in trailers.items() if one_line(v, 200)}


@given(st.text())
def test_clean_text_can_be_written(value: str) -> None:
    assert "\0" not in clean(value).encode().decode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not a line of JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "has no id"),
        ('{"id": 5}', "has no id"),
        ('{"id": "a"}', "has no role"),
        ("[" * 100_000, "not a line of JSON"),
    ],
)
def test_lines_that_hold_no_record(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_record(line)


def test_odd_but_readable_records() -> None:
    record = parse_record('{"id":"a","role":"user","content":[{"type":"text"}],"mood":1}')
    assert record.content == '[{"type": "text"}]'
    assert record.extra == {"mood": 1}


@pytest.mark.parametrize(
    "bomb",
    [
        "[" * 5000,
        "a: &a [x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]",
        "!!python/object/apply:os.system ['true']",
        "{" * 20_000,
        "- " * 8000,
    ],
)
def test_yaml_bombs_are_harmless(bomb: str) -> None:
    try:
        load_yaml(bomb)
    except ValueError as error:
        assert isinstance(error.args[0], int)  # noqa: PT017 - some bombs are fine YAML
    parse_page(f"---\n{bomb}\n---\ntext\n".encode())
    with pytest.raises(ConfigError):
        parse_config(bomb.encode())


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("id: x\ncontext_window: many", "context_window must be a whole number above 0"),
        ("id: x\nname: [a]", "name must be text"),
        ("name: x", "has no id"),
        ("", "holds no `key: value` lines"),
        ("id: x\ntools: {a: b}", "tools must be a list of names"),
        ("id: x\ntimezone: Mars/Olympus", "timezone 'Mars/Olympus' is unknown"),
        ("id: x\n  y: z: w", "line 2: not valid YAML"),
        ("id: x\ntimezone: ../../etc/passwd", "is unknown"),
    ],
)
def test_a_bad_configuration_names_what_is_wrong(yaml: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("[", r"\[")):
        parse_config(yaml.encode())


def test_a_configuration_is_read_liberally() -> None:
    config = parse_config(b"\xef\xbb\xbfid: 7\nname: Ada\ntools: a, b\nmood: calm\n")
    assert (config.id, config.name, config.tools, config.extra) == (
        "7",
        "Ada",
        ("a", "b"),
        {"mood": "calm"},
    )
