"""The agent's directory, written: ``change`` is the one door.

A ``Change`` gathers writes and makes them one commit; hand edits of the same files are committed
first, as the person's (``adopt``). Reading is inherited from ``Reader``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fsagent.change import Adopted, Change
from fsagent.clock import Clock, stamp
from fsagent.errors import AgentBusy, ConfigError, StoreError
from fsagent.formats import (
    format_message,
    format_record,
    one_line,
    parse_record,
)
from fsagent.layout import FILE_MAX, is_agents, is_gits, require_agent
from fsagent.locks import Locks
from fsagent.reader import Reader, is_utf8
from fsagent.records import Person, Record
from fsagent.repo import Blob, Draft, Made, MovedError, Put, Repo, State, way_on
from fsagent.secret import masked

TURN_PATIENCE = 30.0
"""Seconds that a turn waits for another one to end."""

AS_STAGED = " (as staged)"
"""What the subject ends with that commits a version which was staged and then edited on."""

_TRIES = 20
"""How often a commit is begun again because a person commits the same file."""

SEGMENT_RECORDS = 100
SEGMENT_BYTES = 65_536


class EditedError(StoreError):
    """Somebody edited a file after it was read and before it was written."""


class Store(Reader):
    """One agent's files. Without ``mend``, what a killed program left stays as it is: for a look.

    Raises:
        NotAnAgent: from the constructor, when the directory holds no agent.
        AgentError: when its repository cannot be used.
        ConfigError: when agent.yaml cannot be read.
    """

    is_past = False
    """Whether these are the files of a commit, which are read and not changed."""

    def __init__(
        self,
        root: Path,
        clock: Clock | None = None,
        *,
        allowed: bool = False,
        mend: bool = True,
        repo: Repo | None = None,
    ) -> None:
        require_agent(root)
        top = root.resolve()
        super().__init__(top, clock or Clock(), repo or Repo(top, allowed=allowed))
        self._private = self.repo.git_dir / "fsagent"
        self.locks = Locks(self._private)
        self.live: dict[str, set[str]] = {}
        """Ids of the records that this process appended and no commit holds yet, by segment."""
        self._conflicts: set[str] = set()
        """Paths that Git last called unmerged: nothing is written until they are mended."""
        if mend:
            self._mend_opening()

    @property
    def author(self) -> Person:
        """The agent, as the author of its own commits."""
        config = self.config
        return Person(_plain(config.name) or "agent", f"{_plain(config.id)}@fsagent.local")

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def change(
        self,
        subject: str,
        *,
        author: Person | None = None,
        tool: str | None = None,
        call: str | None = None,
        turn: str | None = None,
        message: str | None = None,
        model: str | None = None,
        undoes: str | None = None,
    ) -> Iterator[Change]:
        """Gather writes; at the end they are one commit by ``author`` (None: the agent).

        From the first look at a block on, no other program writes, so that what is written follows
        from what was read. Nothing is written when the body raises, and nothing is committed when
        nothing differs: then ``Change.commit`` is None. What a person changed meanwhile in the same
        files is committed first, as theirs, and is in ``Change.adopted``.

        Raises:
            StoreError: when the change cannot be written; then every file is as it was.
        """
        with contextlib.ExitStack() as held:
            change = Change(self, subject, lambda: held.enter_context(self._writing()))
            yield change
            change.trailers = {
                "Change": change.id,
                "Tool": tool,
                "Tool-Call": call,
                "Turn": turn,
                "Message": message,
                "Model": model,
                "Undoes": undoes,
            }
            self._commit(change, author or self.author)

    def _commit(self, change: Change, author: Person) -> None:
        joining = change.joining
        if not change.writes and not change.included and not joining:
            return
        with self._writing():
            taken = joining.taken if joining else {}
            writes = {p: data for p, data in change.writes.items() if data != self.now(p)}
            if not writes and not change.included and not joining:
                return
            self._unfiltered([*writes, *taken, *change.included])
            self.ready()
            self._without_secrets(change, writes)
            for _ in range(_TRIES):
                with contextlib.suppress(MovedError):  # a person committed the file: look again
                    change.adopted += self._adopt_overtaken()
                    made = self._make(change, writes, author)
                    break
            else:
                raise StoreError(f"{self.root} is committed to all the time: try again later.")
            change.commit = made.commit
            for path in (*writes, *taken, *change.included):
                self.live.pop(path, None)
            if made.late:
                with contextlib.suppress(StoreError):  # it is committed; the next turn adopts them
                    change.adopted += self._adopt_overtaken()
                    change.adopted += self._adopt_these(made.late)

    def _without_secrets(self, change: Change, writes: Mapping[str, bytes | None]) -> None:
        """Refuse what looks like a key or a token; in recall it is masked before it gets here."""
        for path, data in writes.items():
            if data and change.refuses_secrets and not path.startswith("recall/"):
                self.refuse_secrets(data, self.now(path))

    def refuse_secrets(self, data: bytes, before: bytes | None) -> None:
        """Refuse what looks like a key or a token in ``data``, and was not in ``before``.

        Raises:
            SecretRefused: naming it, and what to do.
        """
        from fsagent.secret import refuse

        refuse(data, before, self._allowed())

    def _make(self, change: Change, writes: dict[str, bytes | None], author: Person) -> Made:
        """One try at a commit: what a hand has changed in these files comes first."""
        joining = change.joining
        taken = joining.taken if joining else {}
        states = self.repo.compare([*writes, *taken, *change.included])
        for _ in range(_TRIES):  # until what stands in these files is in the history
            adopted = self._adopt({path: states[path] for path in (*writes, *taken)})
            if not adopted:
                break
            change.adopted += adopted
            states = self.repo.compare(states)
        else:
            raise StoreError(f"{min(states)} is saved all the time: try again later.")
        puts = {}
        for path in (*writes, *taken):
            state = states[path]
            if path in change.seen and not state.holds(change.seen[path]):
                raise EditedError(f"{path} was edited in this very moment: read it again.")
            if joining and state.head != joining.heads.get(path, state.head):
                raise EditedError(f"{path} was edited in this very moment: try again.")
            self._inside(path)
            if path in writes:
                mode = change.modes.get(path, 0o100644)
                puts[path] = Put.write(writes[path], state.work, mode)
            else:
                puts[path] = Put.known(taken[path], state.work)
        puts |= {path: states[path].put() for path in change.included}
        text = format_message(change.subject, change.trailers)
        seen = {path: state.head for path, state in states.items()}
        join = joining.join if joining else None
        draft = Draft(change.id, puts, text, author, self.clock.now(), join)
        return self.repo.commit(draft, seen)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock for writing, and settle first what an earlier program left half done."""
        within = self.locks.mine("write")
        with self.locks.hold("write", 10.0, "Another program writes to this agent: try again."):
            try:
                if not within:
                    self.repo.durable = self._is_durable()
                    self.repo.recover()
                yield
            finally:
                self._hear()

    def _allowed(self) -> tuple[str, ...]:
        """What looks like a secret and is none; nothing while agent.yaml has to be mended."""
        try:
            return self.config.allow
        except ConfigError:
            return ()

    def _is_durable(self) -> bool:
        """Whether a power cut is to be survived; also where agent.yaml has to be mended first."""
        try:
            return self.config.durability == "power"
        except ConfigError:
            return True

    def _mend_opening(self) -> None:
        """Mend at the opening what is half done, unless somebody is just doing it."""
        if self.repo.settled():
            return
        try:
            with self.locks.hold("write", 0.0, "busy"):
                self.repo.recover()
        except AgentBusy:
            return
        except StoreError as error:  # reading goes on; the next write says it again
            self.warn(str(error))
        self._hear()

    def _hear(self) -> None:
        """Pass on what recovery did."""
        for line in self.repo.told:
            self.warn(line)
        self.repo.told.clear()

    def ready(self) -> None:
        """Refuse to write into the middle of a person's merge or rebase."""
        what = self.repo.under_way()
        if what:
            raise StoreError(f"A {what} is under way in {self.root}. {way_on(what)} first.")

    # ── hand edits ────────────────────────────────────────────────────────────────────────────

    def adopt(self, paths: Iterable[str] | None = None) -> list[Adopted]:
        """Commit what a person changed in the agent's files, as that person; recall apart.

        With ``paths``, only what was changed in these.

        The lines of a turn that may be under way are not a hand edit: see ``settle``. Where a
        version is staged and the file was edited further, both are kept, a commit each. Everything
        else stays staged or edited as it is.
        """
        with self._writing():
            if paths is None:
                return self._adopt_all(self.dirty(recall=False))
            self.ready()
            return self._adopt_these(paths)

    def settle(self) -> tuple[list[str], list[Adopted]]:
        """What a turn begins with: mend what a killed one left, then adopt what a hand changed.

        Needs the turn. Returns a line for each thing mended, and the commits of hand edits, those
        in recall too.
        """
        with self._writing():
            dirty = self.dirty()
            told, taken = self._recover([path for path in dirty if path.startswith("recall/")])
            return told, self._adopt_all([path for path in dirty if path not in taken])

    def mend(self) -> list[str]:
        """Mend what a killed program or turn left, and adopt nothing; a line for each thing.

        Needs the turn.
        """
        with self._writing():
            done = [*self.repo.told]
            told, _ = self._recover([path for path in self.dirty() if path.startswith("recall/")])
            return done + told

    def _adopt_all(self, dirty: list[str]) -> list[Adopted]:
        if not dirty and not self._conflicts and not self.repo.overtaken():
            return []
        self.ready()
        return self._adopt_overtaken() + self._adopt_these([*dirty, *self._conflicts])

    def _adopt_overtaken(self) -> list[Adopted]:
        """Commit versions that stood for a moment only, as the person's; then what stands now."""
        overtaken = self.repo.overtaken()
        if not overtaken:
            return []
        states = self.repo.compare(dict(overtaken))
        made = []
        for path, place in overtaken:
            put = {path: Put.aside(*self.repo.look(place))}
            made.append(self._hand_edit(put, " (overtaken)", None))
            self.repo.forget(place)
        return made + self._adopt_these(states, {p: s.head for p, s in states.items()})

    def _adopt_these(
        self, paths: Iterable[str], held: Mapping[str, Blob | None] | None = None
    ) -> list[Adopted]:
        """Adopt what differs of these; looked at again when a person commits one of them."""
        for _ in range(_TRIES):
            with contextlib.suppress(MovedError):
                return self._adopt(self.repo.compare(paths), held or {})
        raise StoreError(f"{self.root} is committed to all the time: try again later.")

    def dirty(self, *, recall: bool = True, live: bool = True) -> list[str]:
        """The agent's own files that differ from HEAD: edited, staged, new or gone.

        Without ``live``, the segments of the turn under way may be left out.
        """
        found = []
        self._conflicts = set()
        for entry in self.repo.differing(() if live else self.live):
            path = entry.path
            if not is_agents(path) or (path.startswith("recall/") and not recall):
                continue
            if entry.unmerged:
                self._conflicts.add(path)
            elif path.endswith("/"):
                self.warn(f"{path} is a repository of its own and is left alone.")
            elif not is_utf8(path):
                self.warn(f"{path!a} has a name that is not UTF-8 and is left alone: rename it.")
            elif any((self.root / part).is_symlink() for part in [path, *_parents(path)]):
                self.warn(f"{path} is or lies behind a symbolic link and is left alone.")
            elif is_gits(path):
                self.warn(f"{path} has a name that Git refuses and is left alone: rename it.")
            elif not self._is_readable(path):
                self.warn(f"{path} is no plain file, or too large, and is left alone.")
            else:
                found.append(path)
        found = list(dict.fromkeys(found))  # without an index each is both gone and new
        filtered = self.repo.filtered(found)
        for driver in sorted(set(filtered.values())):
            paths = [path for path in found if filtered.get(path) == driver]
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self.warn(f"{paths[0]}{more}: left alone, {_filter_remedy(paths[0], driver)}")
        return [path for path in found if path not in filtered]

    def _is_readable(self, path: str) -> bool:
        """Whether a path is a plain file that is not too large, or nothing at all."""
        try:
            about = os.lstat(self.root / path)
        except OSError:
            return True
        is_file = stat.S_ISREG(about.st_mode) and about.st_size <= FILE_MAX
        return is_file or stat.S_ISDIR(about.st_mode)

    def _unfiltered(self, paths: Iterable[str]) -> None:
        """Refuse to write a file that Git would pass through a filter: ours run none.

        Raises:
            StoreError: naming the path, the attribute and the remedy.
        """
        for path, driver in self.repo.filtered(paths).items():
            raise StoreError(f"{path} cannot be written, {_filter_remedy(path, driver)}")

    def _adopt(
        self, states: Mapping[str, State], held: Mapping[str, Blob | None] | None = None
    ) -> list[Adopted]:
        """Commit what a hand changed in these files, one commit or two; the caller may write.

        ``held`` is what HEAD had before a commit that left the index alone: nobody staged that.
        """
        made, held = [], held or {}
        # A version that was staged, and then edited on: both are kept.
        staged = {
            path: state.staged
            for path, state in states.items()
            if state.staged not in (None, state.head, state.work, held.get(path))
        }
        if staged:
            puts = {path: Put("staged", blob) for path, blob in staged.items()}
            made.append(self._hand_edit(puts, AS_STAGED, {p: states[p].head for p in puts}))
        now = {
            path: state.put()
            for path, state in states.items()
            if state.work != staged.get(path, state.head)
        }
        if now:
            seen = {path: staged.get(path, states[path].head) for path in now}
            made.append(self._hand_edit(now, "", seen))
        return made

    def _hand_edit(
        self, puts: dict[str, Put], how: str, seen: Mapping[str, Blob | None] | None
    ) -> Adopted:
        names = sorted(puts)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        subject = f"hand edit: {one_line(names[0], 50 - len(how))}{more}{how}"
        change, person = self.clock.id(), self.repo.person()
        body = "\n".join(one_line(name, 200) for name in names[:50]) if more else ""
        message = format_message(subject, {"Change": change}, body)
        draft = Draft(change, puts, message, person, self.clock.now())
        made = self.repo.commit(draft, seen)
        self._name_secrets(puts, seen)
        return Adopted(made.commit, change, person, tuple(names))

    def _name_secrets(self, puts: Mapping[str, Put], old: Mapping[str, Blob | None] | None) -> None:
        """A hand edit is never refused; what looks like a secret in it is named."""
        for path, put in puts.items():
            if put.blob:
                data, was = self.repo.read(put.blob.oid), old[path] if old else None
                self.name_secrets(path, data, self.repo.read(was.oid) if was else None)

    def name_secrets(self, path: str, data: bytes, before: bytes | None) -> None:
        """Warn of what looks like a secret in ``data``, was not in ``before``, and is in Git."""
        from fsagent.secret import new_in

        for one in new_in(data, before, self._allowed()):
            line = data.decode(errors="replace").count("\n", 0, one.start) + 1
            self.warn(
                f"{path}, line {line}: this looks like {one}, and it is in Git now. "
                f"Take it out of all history: fsagent purge {self.root}"
            )

    # ── recall ────────────────────────────────────────────────────────────────────────────────

    def append(self, record: Record, *, flush: bool = False) -> str:
        """Add ``record`` to recall; the answer is the path of its segment.

        With ``flush`` it is on the disk, whatever happens next, when this returns. The line is not
        committed: that is done once for the whole turn.
        """
        line = format_record(record).encode()
        path = self._segment(record, len(line))
        self._inside(path)
        self._unfiltered([path])
        target = self.root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "ab", buffering=0) as file:
                size = file.tell()
                try:
                    if file.write(line) != len(line):
                        raise OSError(28, "No space left on device")
                    if flush:
                        os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(size)
                    raise
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}.") from error
        self.live.setdefault(path, set()).add(record.id)
        return path

    def events(self, told: Iterable[tuple[str, str]]) -> list[Record]:
        """What the agent is told outside of its turns, as records of ``main``.

        Each is a text, of which recall gets what it may keep, and the id of the change that it is
        about.
        """
        clock, allowed = self.clock, self._allowed()
        return [
            Record(
                *(clock.id(), stamp(clock.now()), "event", masked(text, allowed)[0], ""),
                change=change,
            )
            for text, change in told
        ]

    def with_records(self, records: list[Record]) -> tuple[str, bytes]:
        """The segment that takes these records, and its bytes with them: for one change with both.

        Needs the turn.
        """
        lines = "".join(map(format_record, records)).encode()
        path = self._segment(records[0], len(lines))
        return path, (self.now(path) or b"") + lines

    def _segment(self, record: Record, size: int) -> str:
        """The segment that takes ``record``: the one this clone began last, or a new one.

        A new one each day, past 100 records or 64 KiB, and in a fresh clone, so that two machines
        never append to one file and no commit stores more than a segment.
        """
        day = record.ts[:10].split("-")
        mark = self._folder() / "segment"
        current = mark.read_text().strip() if mark.exists() else ""
        if current.startswith("recall/{}/{}/{}-".format(*day)) and is_agents(current):
            with contextlib.suppress(StoreError):
                data = self.read(current)
                full = len(data) + size > SEGMENT_BYTES or data.count(b"\n") >= SEGMENT_RECORDS
                if not full and (not data or data.endswith(b"\n")):
                    return current
        current = "recall/{}/{}/{}-".format(*day) + f"{record.id}.jsonl"
        mark.write_text(current + "\n")
        return current

    # ── locks and recovery ────────────────────────────────────────────────────────────────────

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the agent's turn. Waits up to 30 s for another one, then raises AgentBusy."""
        busy = f"{self.root.name} is in the middle of another turn: try again when it has answered."
        with self.locks.hold("turn", TURN_PATIENCE, busy):
            yield

    def _recover(self, paths: list[str]) -> tuple[list[str], list[str]]:
        """Commit the lines of a killed turn; what was done, and the segments that were taken.

        A last line without its newline is completed when it is a whole record, and otherwise cut,
        its bytes kept under .git/fsagent/torn. Lines that were only appended and are records are
        committed as the turn they belong to, not as somebody's hand edit.
        """
        told, appended = [], []
        states = self.repo.compare(paths) if paths else {}
        for path, state in states.items():
            if state.work is None:
                continue
            data = self.read(path)
            if data and not data.endswith(b"\n"):
                data, line = self._mend(path, data)
                told.append(line)
            old = self.repo.read(state.head.oid) if state.head else b""
            if data.startswith(old) and len(data) > len(old) and _all_records(data[len(old) :]):
                appended.append(path)
        if appended:
            self.ready()
            with self.change("turn (recovered)") as change:
                change.included += appended
            told.append(f"The last turn was cut short; its lines in {appended[0]} are committed.")
        return told, appended

    def _mend(self, path: str, data: bytes) -> tuple[bytes, str]:
        whole, told = self.ended(path, data)
        if len(whole) < len(data):
            os.truncate(self.root / path, len(whole))
        else:
            with open(self.root / path, "ab") as file:
                file.write(whole[len(data) :])
        return whole, told

    def ended(self, path: str, data: bytes) -> tuple[bytes, str]:
        """A segment whose last line has no end, with an end; and what a person is told of it.

        A whole record is ended by a line feed. Anything else was torn and is cut, and its bytes are
        kept under .git/fsagent/torn.
        """
        whole, _, last = data.rpartition(b"\n")
        if _all_records(last):
            return data + b"\n", f"{path}: the last line lacked its newline; mended."
        name = f"{Path(path).stem}-{hashlib.sha256(last).hexdigest()[:12]}"
        kept = self._folder("torn") / name
        kept.write_bytes(last)
        told = f"{path}: the last line was torn and is cut; its bytes are in {kept}."
        return whole + b"\n" if whole else b"", told

    def _folder(self, name: str = "") -> Path:
        """A folder of fsagent's own inside .git: locks, torn lines, files being written."""
        place = self._private / name
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{place} cannot be made: {error.strerror}.") from error
        return place


def _all_records(data: bytes) -> bool:
    try:
        lines = [line for line in data.decode().split("\n") if line.strip()]
        return bool([parse_record(line) for line in lines])
    except ValueError:  # UnicodeDecodeError is one
        return False


def _parents(path: str) -> list[str]:
    """The folders that lead to ``path``, from the top."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _filter_remedy(path: str, driver: str) -> str:
    top, slash, _ = path.partition("/")
    return (
        f"since it has the attribute filter={driver} and fsagent runs no filters: "
        f"end .gitattributes with the line `{top}{slash and '/**'} !filter`."
    )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[<>\x00-\x1f]", " ", text).split())
