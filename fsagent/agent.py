"""An agent: open or make one, talk to it, read and write its memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fsagent.allow import is_allowed
from fsagent.change import Adopted
from fsagent.clock import Clock
from fsagent.config import DEFAULT_WINDOW, AgentConfig
from fsagent.environment import Environment
from fsagent.errors import AgentBusy, FsagentError, StoreError
from fsagent.formats import clean, thread_name
from fsagent.memory import Blocks, Notes
from fsagent.records import MAIN, Commit, Event, Folded, Turn
from fsagent.searching import Searching
from fsagent.store import Store

if TYPE_CHECKING:  # what a search does not need is imported where it is used
    from fsagent.context import Context, Window
    from fsagent.fold import Plan
    from fsagent.history.bisect import Found
    from fsagent.history.edits import Side
    from fsagent.history.log import Happening
    from fsagent.history.purge import Purged
    from fsagent.history.sent import PastPrompt
    from fsagent.history.stats import Stats
    from fsagent.history.sync import Merged, Synced
    from fsagent.history.undo import Resolve, Undone
    from fsagent.history.why import Origin
    from fsagent.imports import Imported
    from fsagent.index import Progress
    from fsagent.llm import Client
    from fsagent.repo.maintain import Done
    from fsagent.tools import Tool
    from fsagent.tools.toolbox import Toolbox


class Agent(Searching):
    """One agent, which is one directory under Git.

    Use ``Agent.open`` or ``Agent.init``. Reading never commits; ``chat`` and every assignment to
    memory do. An Agent may be shared by threads one turn at a time.
    """

    def __init__(
        self,
        store: Store,
        client: Client | None,
        tools: Iterable[Tool],
        environment: Environment,
        model: str = "",
    ) -> None:
        super().__init__(store, environment)
        self._client = client
        self._model = model
        self._lent: Client | None = None
        """A client of another Agent's, which closes it."""
        self._tools = tuple(tools)
        self.warned: set[str] = set()
        """Warnings of the store that a turn has given already."""
        self.chosen = "given by the program"
        """Why this model is used, in a few words."""

    @classmethod
    def open(
        cls,
        directory: str | Path,
        client: Client | None = None,
        *,
        tools: Iterable[Tool] = (),
        model: str = "",
        environment: Environment | None = None,
        clock: Clock | None = None,
        mend: bool = True,
    ) -> Agent:
        """The agent in ``directory``.

        Args:
            directory: Where it lives.
            client: The model to talk to; None chooses one, as ``llm.choose`` says, at first use.
            tools: Further tools that a program adds.
            model: The name of the model to choose, before any other setting.
            environment: Settings of this machine; None reads the environment's variables.
            clock: Time and ids; tests give one of their own.
            mend: Finish, or give up, what a killed program left half done; without it, look only.

        Raises:
            NotAnAgent: there is no agent in it.
            AgentError: its repository cannot be used.
        """
        environment = environment or Environment.read()
        root = Path(directory)
        allowed = is_allowed(root, environment.state_dir)
        store = Store(root, clock, allowed=allowed, mend=mend)
        agent = cls(store, client, tools, environment, model)
        if mend and os.path.exists(store.repo.git_dir / "fsagent" / "purge"):
            from fsagent.history.purge import finish

            try:
                told = finish(agent)
            except StoreError as error:
                told = str(error)
            if told:
                store.warn(told)
        return agent

    @classmethod
    def init(
        cls,
        directory: str | Path,
        *,
        template: str | Path | None = None,
        name: str = "",
        model: str = "",
        human: str = "",
        persona: str = "",
        client: Client | None = None,
        tools: Iterable[Tool] = (),
        environment: Environment | None = None,
        clock: Clock | None = None,
    ) -> Agent:
        """Make an agent: a directory, its files, and its first commit.

        Args:
            directory: Where; it may exist if it is empty or holds an agent's files without history.
            template: A directory to copy; None is the starter.
            name: The agent's name; by default the template's, or the directory's.
            model: Written to agent.yaml when given.
            human: Text of the block ``human``.
            persona: Text of the block ``persona``.
            client, tools, environment, clock: As for ``open``.

        Raises:
            AgentError: the directory holds something else, or an agent already.
            SecretRefused: a text holds what looks like a key or a token.
        """
        from fsagent import starter
        from fsagent.history.fork import settle_home
        from fsagent.secret import refuse

        root = Path(directory)
        blocks = {"human": clean(human), "persona": clean(persona)}
        for text in (name or root.name, *blocks.values()):
            refuse(text.encode())
        starter.create(root, template, clock or Clock(), name=name, model=model, blocks=blocks)
        agent = cls.open(root, client, tools=tools, environment=environment, clock=clock)
        person = agent.store.repo.person()
        with agent.store.change(f"init: {agent.name}", author=person) as change:
            change.included += starter.files_of(root)
        settle_home(agent.store)
        return agent

    @classmethod
    def clone(
        cls,
        place: str,
        directory: str | Path,
        client: Client | None = None,
        *,
        tools: Iterable[Tool] = (),
        model: str = "",
        environment: Environment | None = None,
        clock: Clock | None = None,
        ask: bool = False,
    ) -> Agent:
        """The same agent in a second place, to be kept in step by ``sync``.

        Args:
            place: An address that git knows, or a directory.
            directory: Where the clone is to live.
            client, tools, model, environment, clock: As for ``open``.
            ask: Whether git may ask for a password on the terminal.

        Raises:
            AgentError: the directory is there already, or what comes is no agent.
            StoreError: the address cannot be reached.
        """
        from fsagent.history.sync import clone

        environment = environment or Environment.read()
        root = Path(directory)
        told = clone(place, root, state_dir=environment.state_dir, ask=ask)
        agent = cls.open(
            root, client, tools=tools, model=model, environment=environment, clock=clock
        )
        for text in told:
            agent.store.warn(text)
        return agent

    # ── what it is ────────────────────────────────────────────────────────────────────────────

    @property
    def root(self) -> Path:
        """The agent's directory."""
        return self.store.root

    @property
    def config(self) -> AgentConfig:
        """agent.yaml as it stands now."""
        return self.store.config

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.config.name

    @property
    def client(self) -> Client:
        """The model this agent talks to.

        Raises:
            ModelError: there is none to be had.
        """
        if self._client is None:
            from fsagent.llm.choose import choose

            choice = choose(
                self.config, self.environment, self._model, allowed=self.store.repo.allowed
            )
            self._client, self.chosen = choice.client, choice.reason
        return self._client

    def use(self, model: str) -> Client:
        """Talk to another model from the next turn on; the answer is its client."""
        before = self._client, self._model
        self._client, self._model = None, model
        try:
            return self.client
        except FsagentError:
            self._client, self._model = before
            raise

    @property
    def toolbox(self) -> Toolbox:
        """The tools that are on."""
        from fsagent.tools.toolbox import Toolbox

        return Toolbox(self.config.tools, self._tools)

    @property
    def blocks(self) -> Blocks:
        """Core memory, by label; assigning to a label is one commit by the person."""
        return Blocks(self.store)

    @property
    def notes(self) -> Notes:
        """Archival memory."""
        return Notes(self.store)

    # ── a turn ────────────────────────────────────────────────────────────────────────────────

    def chat(self, text: str, *, thread: str = MAIN) -> Turn:
        """One turn, to its end. See ``stream``."""
        turn = None
        for event in self.stream(text, thread=thread):
            if isinstance(event, Turn):
                turn = event
        assert turn is not None  # noqa: S101 - stream ends with its Turn or raises
        return turn

    def stream(self, text: str, *, thread: str = MAIN) -> Iterator[Event]:
        """One turn as it happens: text deltas, tool calls and results, warnings, at last the Turn.

        Hand edits are committed first. The user's message is on disk before the model is asked.
        However the turn ends, its lines of recall become one commit, and the next turn goes on.

        Args:
            text: What the user says.
            thread: The conversation that it is said in. Each has a window of its own, over the same
                memory; a new name begins a new one.

        Raises:
            StoreError: ``thread`` is no name for one.
            AgentBusy: another turn is under way, for more than 30 s.
            ModelError: the model is down or refuses; the user's message is kept.
        """
        from fsagent.turn import TurnRun

        name = thread_name(thread)
        with self.store.turn():
            yield from TurnRun(self, clean(text), name).events()

    def adopt(self) -> list[Adopted]:
        """Commit hand edits as the person's. Each turn begins with this; rarely called by hand."""
        return self.store.adopt()

    def context(self, thread: str = MAIN) -> Context:
        """Exactly what the model would be sent now in that thread, with token counts."""
        from fsagent.context import Files, assemble
        from fsagent.view import read

        files = Files.of(self.store, self.toolbox.schemas())
        return assemble(files, read(self.store, thread_name(thread)), self.window)

    def prompts(self, turn: str | Turn) -> list[PastPrompt]:
        """What the model was sent in a turn, byte for byte: a prompt for each of its answers.

        ``prompt.holds("Lives in Utrecht.")`` says whether a line stood in one.

        Args:
            turn: A turn, or its id.

        Raises:
            StoreError: there is no such turn, or it does not say what it was made from.
        """
        from fsagent.history.sent import prompts

        ident = turn.id if isinstance(turn, Turn) else turn
        return prompts(self.store, ident, self._tools, self.window)

    def fold_plan(self, thread: str = MAIN) -> Plan | None:
        """What ``fold`` would put a summary in the place of; None where there is nothing."""
        from fsagent.fold import plan

        return plan(self.context(thread))

    def fold(self, thread: str = MAIN) -> Folded | None:
        """Fold the oldest messages in view into a summary now; a turn does it where it must.

        Half of what the window may hold stays free then. The answer is None where that is so
        already. ``undo`` with the commit takes it back.
        """
        from fsagent.fold import by_hand

        client = self.client
        with self.store.turn():
            self.store.mend()
            return by_hand(self.store, client, self.context(thread), thread)

    @property
    def window(self) -> Window:
        """The window of the model, and how it counts tokens."""
        from fsagent.context import Window
        from fsagent.tokens import counter

        config = self.config
        client: Client | None
        try:
            client = self.client
        except FsagentError:
            client = None  # what would be sent can be shown without anyone to send it to
        window = config.context_window or (client and client.context_window) or DEFAULT_WINDOW
        if client and client.context_window:
            window = min(window, client.context_window)
        model = client.model if client else self._model or config.model
        count = (client and client.count) or counter(model)
        return Window(window, count, config.fold_at)

    # ── history ─────────────────────────────────────────────────────────────────────────────

    def log(self, path: str | None = None, *, limit: int | None = None) -> list[Commit]:
        """Commits, newest first; only those that touch ``path``, a path or a block's label."""
        return list(self._commits(path, limit))

    def turns(self, path: str | None = None) -> Iterator[Happening]:
        """The same by turns, with what was said: a turn's commits are one ``Happening``."""
        from fsagent.history.log import happenings

        return happenings(self.store, self._commits(path))

    def _commits(self, path: str | None, limit: int | None = None) -> Iterator[Commit]:
        from fsagent.repo.walk import path_of

        store = self.store
        where = path_of(store.repo, path, store.rev) if path else None
        return store.repo.log(where, rev=store.rev or "HEAD", limit=limit)

    def at(self, when: str) -> Agent:
        """The agent as it was: read, searched and talked to as any, and never changed.

        What is said to it, and answered, is kept in memory only.

        Args:
            when: A revision of Git's, the id of a change or a turn, or a date.

        Raises:
            StoreError: there is no such commit, or the agent was not there yet.
        """
        from fsagent.history.name import commit_of
        from fsagent.past import Past

        known = len(self.store.warnings)
        store = Past(self.store, commit_of(self.store, when))
        store.warnings += self.store.warnings[known:]
        past = Agent(store, self._client, self._tools, self.environment, self._model)
        past._lent = self._client
        return past

    def import_file(self, path: str | Path, progress: Progress | None = None) -> Imported:
        """Bring in a past: conversations held elsewhere, as recall with their own dates.

        Each becomes a thread of its own. What is there already is not written again, so an import
        may be repeated, or made again from a newer export.

        Args:
            path: The data export of ChatGPT or Claude (the zip file, its conversations.json, or the
                folder), plain JSONL of role, content and ts, or JSON shaped like LoCoMo's.
            progress: Told how far it is: first in bytes read, then in commits.

        Raises:
            StoreError: it cannot be read, or holds no conversation; nothing was written.
        """
        from fsagent.imports import import_file

        return import_file(self.store, Path(path), progress)

    def fork(self, directory: str | Path, *, at: str = "HEAD", name: str = "") -> Agent:
        """Another agent with the same past and an id of its own; see ``fsagent.history.fork``.

        Args:
            directory: Where the fork is to live.
            at: Up to where it shares the past: a revision, a change, a turn or a date.
            name: Its name; by default that of the directory.

        Raises:
            AgentError: the directory is there already, or cannot be made.
            StoreError: there is no such commit.
        """
        from fsagent.history.fork import fork

        root = fork(self.store, Path(directory), at, name)
        made = Agent.open(
            *(root, self._client),
            tools=self._tools,
            model=self._model,
            environment=self.environment,
            clock=self.store.clock,
        )
        made._lent = self._client
        return made

    def purge(self, what: str, *, text: bool = False) -> Purged:
        """Take a text, a record or a commit out of files, history, caches and logs, for good.

        The history is rewritten: commits get other ids, and their changes keep theirs. Nobody is
        asked, and there is no way back.

        Args:
            what: A text; or the id of a record, a commit, a change or a turn.
            text: Take it as a text, whatever it looks like.

        Raises:
            AgentBusy: a turn is under way, for more than 30 s.
            StoreError: it cannot be done, and nothing was changed.
        """
        from fsagent.history.purge import purge
        from fsagent.history.target import find

        return purge(self, find(self.store, what, text=text))

    def bisect(
        self,
        what: str,
        *,
        search: bool = False,
        ask: bool = False,
        expect: str | None = None,
        run: str | None = None,
    ) -> Found:
        """The first commit after which something is there, in log₂ steps, with its turn.

        Args:
            what: A text that stands in a file of memory.
            search: ``what`` is a query: when its best hit came to be found.
            ask: ``what`` is a question: since when it is answered as now, which ``expect`` (a
                regular expression) or ``run`` (a command that reads the reply) judges.
            expect, run: See ``ask``.

        Raises:
            StoreError: it is not there now.
        """
        from fsagent.history.bisect import bisect

        return bisect(self, what, search=search, ask=ask, expect=expect, run=run)

    def why(self, what: str, line: int | None = None) -> list[Origin]:
        """Who wrote each line of a block or note, by which call, and what was said before.

        Args:
            what: A block's label, a note's id, a path, ``WHAT:LINE``, or a text that memory holds.
            line: One line only, as an editor counts; then with its earlier wordings.

        Raises:
            StoreError: there is no such block, note, line or text.
        """
        from fsagent.history.why import why

        return why(self.store, what, line)

    def stats(self, since: datetime | None = None) -> Stats:
        """What its calls of models and tools cost, by day, model and tool, and how memory grew."""
        from fsagent.history.stats import stats

        return stats(self.store, since)

    def diff(self, revisions: str = "HEAD") -> str:
        """What ``git diff`` shows: the work tree against a commit, or two (``REV..REV``).

        A revision is one of Git's, the id of a change or a turn, or a date.

        Raises:
            StoreError: one of them names no commit.
        """
        from fsagent.history.name import pair_of

        return self.store.repo.diff(*pair_of(self.store, revisions))

    def undo(
        self,
        what: str | Turn | Commit | None = None,
        *,
        side: Side | None = None,
        resolve: Resolve | None = None,
    ) -> Undone:
        """Take back one change, or a whole turn's, in a new commit by the person.

        Args:
            what: A commit, a change id, or a turn; None is the newest change of memory, undos
                included, so that twice gives it back.
            side: Where a later change edited the same words: "ours" keeps these, "theirs" puts
                back what was there before.
            resolve: Asked instead, for each file with such a place: path and text with both sides
                under headings; the answer is the text, or None to stop.

        Raises:
            UndoConflict: a later change edited the same words; nothing was written.
            StoreError: it names nothing that can be undone, or nothing is left of it.
        """
        from fsagent.history.changes import find
        from fsagent.history.undo import undo

        if isinstance(what, Turn):
            what = what.id
        elif isinstance(what, Commit):
            what = what.commit
        return undo(self.store, find(self.store, what), side=side, resolve=resolve)

    def sync(self, place: str | None = None, *, ask: bool = False) -> Synced:
        """Bring this agent and another repository of it to the same: fetch, merge, push.

        Hand edits are committed first. What both sides have changed is merged by what it means;
        where they clash, both versions stay and the agent is told. Nothing is ever forced.

        Args:
            place: A remote's name, an address or a directory; by default the branch's upstream.
            ask: Whether git may ask for a password on the terminal.

        Raises:
            StoreError: the other repository cannot be reached, or refuses; what is here is kept.
        """
        from fsagent.history.sync import sync

        surroundings = self.environment
        return sync(
            *(self.store, place),
            machine=surroundings.machine,
            state_dir=surroundings.state_dir,
            ask=ask,
        )

    def merge(self, directory: str | Path) -> Merged:
        """Take in the memory of another agent, a fork of this one or of the same past.

        Raises:
            NotAnAgent, AgentError: there is none in ``directory``.
            StoreError: they share no past, or something cannot be merged.
        """
        from fsagent.history.sync import merge

        other = Path(directory)
        return merge(self.store, other, allowed=is_allowed(other, self.environment.state_dir))

    def maintain(self, *, auto: bool = False) -> list[Done]:
        """Pack what has gathered and let old things go; a ``Done`` for each thing that was done.

        It needs no lock that a turn or a write needs. With ``auto`` nothing is done unless there
        is enough to do, and nobody else is doing it.

        Raises:
            AgentBusy: another process is at it.
            StoreError: git failed.
        """
        from fsagent.index.caches import sweep
        from fsagent.repo.maintain import Done, due, maintain

        if auto and not due(self.store.repo):
            return []
        try:
            done = maintain(self.store.repo)
        except AgentBusy:
            if not auto:
                raise
            return []
        count, size = sweep(self.environment.cache_dir)
        if count:
            noun = "index" if count == 1 else "indexes"
            done.append(Done("caches", f"{count} {noun} that no agent needs any more", size, 0))
        return done

    def close(self) -> None:
        """End the processes and connections that this agent keeps."""
        if "index" in self.__dict__:
            self.index.close()
        if not self.store.is_past:  # whose repository is that of the present
            self.store.repo.close()
        if self._client and self._client is not self._lent:
            self._client.close()
