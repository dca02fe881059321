"""Every exception that fsagent raises on purpose.

    FsagentError                    a person's problem: one sentence that names the remedy
    ├── AgentError
    │   ├── NotAnAgent              the directory holds no agent
    │   └── AgentBusy               another turn is under way
    ├── ConfigError                 agent.yaml cannot be used as it is
    ├── StoreError                  a read or a write of memory was refused
    │   ├── BlockNotFound
    │   ├── ReadOnly
    │   ├── OverLimit
    │   ├── SecretRefused           the text holds what looks like a key or a token
    │   └── UndoConflict            a later change edited the very words that an undo takes back
    ├── SearchError                 the index cannot answer
    ├── OverBudget                  agent.yaml allows the turn no more tokens
    └── ModelError                  the model is down, refuses, or is missing
        └── PromptTooLong           the prompt does not fit the model's window
    ToolError                       apart: its reader is the model

An exception that is not in this tree is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import Any


class FsagentError(Exception):
    """Something a person can mend. Its text is one sentence that names the remedy."""


class AgentError(FsagentError):
    """The agent as a whole cannot be used."""


class NotAnAgent(AgentError):
    """The directory is not an agent's (there is no agent.yaml in it)."""


class AgentBusy(AgentError):
    """Another process holds the agent's turn."""


class ConfigError(FsagentError):
    """agent.yaml is missing something, or says something that cannot be meant."""


class StoreError(FsagentError):
    """Memory could not be read or written."""


class BlockNotFound(StoreError):
    """No core-memory block has that label."""


class ReadOnly(StoreError):
    """The block is marked read_only."""


class OverLimit(StoreError):
    """The write would make a block longer than its limit."""


class SecretRefused(StoreError):
    """The text holds what looks like a key, a token or a password."""


class UndoConflict(StoreError):
    """What an undo would take back was edited since; nothing was written.

    ``clashes`` are the places, with both sides (``fsagent.history.undo.Sides``).
    """

    def __init__(self, text: str, clashes: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.clashes = clashes


class SearchError(FsagentError):
    """The search index cannot answer."""


class OverBudget(FsagentError):
    """The next call of the model would go over what agent.yaml allows; it was not made."""


class ModelError(FsagentError):
    """The model cannot be reached, refused the request, or is not there."""


class PromptTooLong(ModelError):
    """The prompt has more tokens than the model can take."""


class ToolError(Exception):
    """A tool call that cannot be done. The text is read by the model: it says what to do next."""
