"""Reading exports, which are strangers' files: piece by piece, and no more than there is room for.

A file is a JSON list of conversations, one conversation, plain JSONL, a zip file of any of the
first, or the folder that such a zip file was unpacked into.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fsagent.errors import StoreError
from fsagent.formats import one_line
from fsagent.imports.shapes import Said, Talk, line, talk_of

READ_MAX = 4 << 30
"""Bytes that an export may have, unpacked."""
TALK_MAX = 64 << 20
"""Characters of one conversation."""
LINE_MAX = 8 << 20
"""Bytes of one line of JSONL."""

_PIECE = 1 << 20
_CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:-\d{1,6})?\.json")
"""What exports call the file, or, since 2026, each of the files, with the conversations."""

Progress = Callable[[int, int], None]
"""Told how much is done of how much."""
Tell = Callable[[str], None]
"""Told, in a sentence, what is skipped and why."""


def talks(path: Path, tell: Tell, progress: Progress | None = None) -> Iterator[Talk]:
    """The conversations of an export, one after the other.

    What cannot be understood is skipped, and ``tell`` hears of it.

    Raises:
        StoreError: it is no export, is cut off, or is larger than anyone's.
    """
    with ExitStack() as opened:
        try:
            files = list(_opened(path, opened))
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or one_line(str(error), 100)
            raise StoreError(f"{path} cannot be read: {reason}.") from error
        if not files:
            raise StoreError(
                f"{path} holds no conversations.json: give the export of ChatGPT or of Claude, or "
                "JSONL of role, content and ts."
            )
        total = sum(size for _, _, size in files)
        before = 0
        for name, file, size in files:
            source = _Source(file, name, before, total, progress)
            yield from _talks(source, tell)
            before += size
    if progress:
        progress(total, total)


def _opened(path: Path, opened: ExitStack) -> Iterator[tuple[str, IO[bytes], int]]:
    """The files with conversations: their names, and how many bytes they say they have."""
    if path.is_dir():
        for found in sorted(path.rglob("conversations*.json")):
            if _CONVERSATIONS.fullmatch(found.name) and found.is_file():
                yield found.name, opened.enter_context(found.open("rb")), found.stat().st_size
    elif path.is_file() and zipfile.is_zipfile(path):
        archive = opened.enter_context(zipfile.ZipFile(path))
        for member in sorted(archive.infolist(), key=lambda one: one.filename):
            if _CONVERSATIONS.fullmatch(member.filename):
                name = PurePosixPath(member.filename).name
                if member.flag_bits & 1:
                    raise OSError(22, "it is locked with a password: unpack it first")
                yield name, opened.enter_context(archive.open(member)), member.file_size
    else:
        if path.exists() and not path.is_file():
            raise OSError(22, "it is no plain file")
        yield path.name, opened.enter_context(path.open("rb")), path.stat().st_size


class _Source:
    """An opened file: its text in pieces, and no more of it than ``READ_MAX``."""

    def __init__(
        self, file: IO[bytes], name: str, before: int, total: int, progress: Progress | None
    ) -> None:
        self.name = name
        self._file, self._before, self._total, self._progress = file, before, total, progress
        self._read = 0

    def read(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        return self._counted(lambda: self._file.read(size))

    def readline(self) -> bytes:
        """A line, or the first part of a very long one."""
        return self._counted(lambda: self._file.readline(LINE_MAX + 1))

    def _counted(self, read: Callable[[], bytes]) -> bytes:
        try:
            data = read()
        except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
            raise self.broken(one_line(str(error), 100)) from error
        except Exception as error:  # each way of packing has errors of its own
            raise self.broken(type(error).__name__) from error
        self._read += len(data)
        if self._before + self._read > READ_MAX:
            size = READ_MAX >> 30
            raise StoreError(
                f"{self.name} has more than {size} GB unpacked, which nobody has said."
            )
        if self._progress:
            done = self._before + self._read
            self._progress(min(done, self._total), max(self._total, 1))
        return data

    def broken(self, why: str) -> StoreError:
        """The error for a file that ends, or goes wrong, in the middle."""
        return StoreError(f"{self.name} cannot be read to its end ({why}): fetch the export again.")


def _talks(source: _Source, tell: Tell) -> Iterator[Talk]:
    first = source.readline()
    lines = _is_a_message(first) or source.name.lower().endswith((".jsonl", ".ndjson"))
    if lines:
        yield from _lines(source, first, tell)
        return
    loose = _Lines(source.name)
    for number, value in enumerate(_Values(source, first).each(), 1):
        try:
            if isinstance(value, dict) and "role" in value:  # a list of plain messages
                loose.add(value)
            else:
                yield talk_of(value)
        except ValueError as error:
            title = value.get("title") or value.get("name") if isinstance(value, dict) else ""
            about = f" ({one_line(title, 40)})" if isinstance(title, str) and title else ""
            tell(f"{source.name}, conversation {number:,}{about}: {error}; it is skipped.")
    yield from loose.talks()


def _is_a_message(first: bytes) -> bool:
    """Whether a first line is a whole JSON object with a role: then each line is a message."""
    try:
        value = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "role" in value


# ── JSONL ─────────────────────────────────────────────────────────────────────────────────────


class _Lines:
    """Messages that stand by themselves: one conversation, or those that they name."""

    def __init__(self, name: str) -> None:
        self._name = PurePosixPath(name).stem
        self._said: dict[str, list[Said]] = {}
        self._left_out: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def add(self, value: Any) -> None:
        """Take a message.

        Raises:
            ValueError: saying what is wrong with it.
        """
        said = line(value)
        thread = value.get("thread")
        thread = str(thread) if isinstance(thread, str | int) else ""
        if said:  # an id may be no more than a number, which another file has as well
            text = f"{said.when}\n{said.role}\n{said.name}\n{said.text}"
            name = said.key + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
            self._seen[name] += not said.key  # the same said twice is two messages
            said = replace(said, key=f"{name}-{self._seen[name]}")
        found = self._said.setdefault(thread, [])
        if said:
            found.append(said)
        else:
            self._left_out[thread] += 1

    def talks(self) -> Iterator[Talk]:
        """The conversations that there are."""
        for thread, said in self._said.items():
            title = f"{self._name} {thread}" if thread else self._name
            yield Talk("import", thread, title, _by_date(said), None, self._left_out[thread])


def _by_date(said: list[Said]) -> tuple[Said, ...]:
    """Messages in the order of their dates, one without right after the one that stands before."""
    last = next((one.when for one in said if one.when), None)
    if last is None:
        return tuple(said)
    order = []
    for at, one in enumerate(said):
        last = one.when or last
        order.append((last, at))
    return tuple(said[at] for _, at in sorted(order))


def _lines(source: _Source, first: bytes, tell: Tell) -> Iterator[Talk]:
    found = _Lines(source.name)
    number = 0
    data = first.removeprefix(b"\xef\xbb\xbf")
    while data:
        number += 1
        if len(data) > LINE_MAX:
            tell(f"{source.name}, line {number:,}: longer than {LINE_MAX >> 20} MB; it is skipped.")
            while data and not data.endswith(b"\n"):
                data = source.readline()
        elif data.strip():
            try:
                found.add(_loaded(data))
            except ValueError as error:
                tell(f"{source.name}, line {number:,}: {error}; it is skipped.")
        data = source.readline()
    yield from found.talks()


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────


class _Values:
    """The elements of a JSON list, read as they come; or the one value that there is.

    ``json`` knows no streams: so it is given what was read so far, and twice as much where that
    does not do.
    """

    def __init__(self, source: _Source, first: bytes) -> None:
        import codecs

        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = self._decoded(first)
        self._at = 0
        self._more = True

    def each(self) -> Iterator[Any]:
        """Every element.

        Raises:
            StoreError: it is no JSON, or ends before its end.
        """
        if self._peek() != "[":
            yield self._value()
            return
        self._at += 1
        for number in itertools.count():
            after = self._peek()
            if after == "]":
                return
            if number:
                if after != ",":
                    raise self._source.broken("a comma is missing" if after else "it is cut off")
                self._at += 1
            yield self._value()

    def _value(self) -> Any:
        self._peek()
        size = _PIECE
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > TALK_MAX:
                    why = f"a conversation has more than {TALK_MAX >> 20} MB"
                    raise self._source.broken(why) from None
                if not self._fill(size):
                    raise self._source.broken(f"no JSON: {error.msg}") from None
                size *= 2
            except RecursionError:
                raise self._source.broken("it is nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits
                raise self._source.broken(one_line(str(error), 60)) from None

    def _peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill(_PIECE):
                return ""

    def _fill(self, size: int) -> bool:
        """Read on; False at the end."""
        if not self._more:
            return False
        data = self._source.read(size)
        self._more = bool(data)
        self._text = self._text[self._at :] + self._decoded(data)
        self._at = 0
        return self._more

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, not data)
        except UnicodeDecodeError:
            raise self._source.broken("not UTF-8 text") from None


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
