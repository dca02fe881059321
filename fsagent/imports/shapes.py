"""What other programs call a conversation: the shapes of their exports, read as ``Talk``.

Fields that are missing, empty or of another type than usual are as good as absent: an export is a
stranger's file. What is no conversation at all raises ValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fsagent.clock import moment

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "model": "assistant",
    "ai": "assistant",
}
"""How a role is called in recall. What has another one, the output of a tool say, stays out."""

_NOT_SAID = ("thoughts", "reasoning_recap", "user_editable_context", "model_editable_context")
"""What ChatGPT's export holds beside what was said, as kinds of content."""
_CITED = re.compile("\ue200[^\ue201]*\ue201")
_STEP = timedelta(seconds=30)
"""Between two turns of a session of LoCoMo's, of which only the beginning is dated."""


@dataclass(frozen=True)
class Said:
    """One message. ``key`` is its id in the export; ``when`` is None where nobody wrote it down."""

    key: str
    role: str
    text: str
    when: datetime | None
    name: str = ""
    session: str = ""
    model: str = ""


@dataclass(frozen=True)
class Talk:
    """One conversation. ``source`` and ``key`` name it; ``left_out`` counts what was not said."""

    source: str
    key: str
    title: str
    said: tuple[Said, ...]
    start: datetime | None = None
    left_out: int = 0


def talk_of(raw: Any) -> Talk:
    """The conversation that one object of an export holds.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    for field, read in _SHAPES.items():
        if field in raw:
            return read(raw)
    raise ValueError("neither `mapping` nor `chat_messages` nor `conversation` is in it")


def chatgpt(raw: Mapping[str, Any]) -> Talk:
    """A conversation of ChatGPT's export: a tree of messages, of which one branch was shown."""
    nodes = raw.get("mapping")
    if not isinstance(nodes, dict):
        raise ValueError("its `mapping` is no object")
    at = raw.get("current_node")
    if not isinstance(at, str) or at not in nodes:
        at = next(reversed(nodes), None)
    branch: list[Mapping[str, Any]] = []
    seen = set()
    while isinstance(at, str) and at in nodes and at not in seen:  # a hostile tree goes in circles
        seen.add(at)
        node = _object(nodes[at])
        if node.get("message"):
            branch.append(_object(node["message"]) | {"node": at})
        at = node.get("parent")
    said = [_chatgpt(message) for message in reversed(branch)]
    key = _text(raw.get("conversation_id")) or _text(raw.get("id"))
    return _talk("chatgpt", key, _text(raw.get("title")), said, date(raw.get("create_time")))


def _chatgpt(message: Mapping[str, Any]) -> Said | None:
    about, content = _object(message.get("metadata")), _object(message.get("content"))
    hidden = about.get("is_visually_hidden_from_conversation") or message.get("weight") == 0
    if hidden or message.get("recipient") not in (None, "all"):
        return None
    if content.get("content_type") in _NOT_SAID:
        return None
    text = _CITED.sub("", _joined(content.get("parts")) or _text(content.get("text")))
    role = _text(_object(message.get("author")).get("role"))
    when = date(message.get("create_time"))
    key = _text(message.get("id")) or message["node"]
    return _said(key, role, text, when, model=_text(about.get("model_slug")))


def claude(raw: Mapping[str, Any]) -> Talk:
    """A conversation of Claude's export: a list of messages, in order."""
    messages = raw.get("chat_messages")
    if not isinstance(messages, list):
        raise ValueError("its `chat_messages` are no list")
    found: list[Mapping[str, Any]] = [_object(message) for message in messages]
    found = _branch(found, raw.get("current_leaf_message_uuid"))
    said = []
    for message in found:
        blocks = message.get("content")
        text = _joined(blocks) or _text(message.get("text"))
        names = [_text(_object(one).get("file_name")) for one in _list(message.get("attachments"))]
        text += "".join(f"\n[attachment: {name}]" for name in names if name)
        role, when = _text(message.get("sender")), date(message.get("created_at"))
        said.append(_said(_text(message.get("uuid")), role, text.strip("\n"), when))
    key, title = _text(raw.get("uuid")), _text(raw.get("name"))
    return _talk("claude", key, title, said, date(raw.get("created_at")))


def _branch(messages: list[Mapping[str, Any]], leaf: Any) -> list[Mapping[str, Any]]:
    """The messages that lead to ``leaf``, where the export names it; else all of them."""
    by_id = {_text(message.get("uuid")): message for message in messages}
    at, found, seen = _text(leaf), [], set()
    while at and at in by_id and at not in seen:
        seen.add(at)
        found.append(by_id[at])
        at = _text(by_id[at].get("parent_message_uuid"))
    return found[::-1] or messages


def locomo(raw: Mapping[str, Any]) -> Talk:
    """A conversation shaped like LoCoMo's: sessions of turns between two people.

    LoCoMo: Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents" (ACL
    2024).
    """
    talk = raw.get("conversation")
    if not isinstance(talk, dict):
        raise ValueError("its `conversation` is no object")
    names = (key for key in talk if re.fullmatch(r"session_\d{1,6}", key))
    at = datetime(2020, 1, 1, tzinfo=UTC)
    said: list[Said | None] = []
    for session in sorted(names, key=lambda name: int(name[8:])):
        at = date(talk.get(f"{session}_date_time")) or at + timedelta(days=1)
        for turn in map(_object, _list(talk[session])):
            who, text = _text(turn.get("speaker")), _text(turn.get("text"))
            if turn.get("blip_caption"):
                text += f" [image: {_text(turn['blip_caption'])}]"
            plain = who.lower() in ("user", "assistant")
            role = "user" if who == talk.get("speaker_a") else "assistant"
            said.append(
                _said(
                    _text(turn.get("dia_id")),
                    who.lower() if plain else role,
                    text,
                    at,
                    name="" if plain else who,
                    session=session,
                )
            )
            at += _STEP
    return _talk("locomo", _text(raw.get("sample_id")), _text(raw.get("sample_id")), said)


def line(raw: Any) -> Said | None:
    """One line of plain JSONL: ``role``, ``content`` and ``ts``. None where nothing was said.

    Raises:
        ValueError: saying what is missing.
    """
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    role, content = _text(raw.get("role")), raw.get("content")
    if not role:
        raise ValueError("has no role")
    if content is None and not raw.get("tool_calls"):
        raise ValueError("has no content")
    names = ("ts", "timestamp", "created_at", "create_time", "date", "time")
    when = next((raw[name] for name in names if raw.get(name)), None)
    found = date(when)
    if when and not found:
        raise ValueError(f"{str(when)[:40]!r} is no date: write one like 2026-11-21T18:30:00Z")
    return _said(
        _text(raw.get("id")),
        role,
        _text(content) or _joined(content),
        found,
        name=_text(raw.get("name")),
        session=_text(raw.get("session")),
        model=_text(raw.get("model")),
    )


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Talk]] = {
    "mapping": chatgpt,
    "chat_messages": claude,
    "conversation": locomo,
}
"""By the field that only this shape has."""


def date(value: Any) -> datetime | None:
    """A date as exports write it: seconds or milliseconds since 1970, ISO 8601, or LoCoMo's."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not 0 < value < 1e14 or not math.isfinite(value):
            return None
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    if not isinstance(value, str) or len(value) > 64:
        return None
    if re.fullmatch(r"\d{9,13}(?:\.\d+)?", value):
        return date(float(value))
    try:
        return datetime.strptime(value, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    except ValueError:
        return moment(value)


def _said(key: str, role: str, text: str, when: datetime | None, **more: str) -> Said | None:
    """A message, or None where its role or its emptiness say that it is none."""
    known = ROLES.get(role.lower())
    return Said(key, known, text, when, **more) if known and text.strip() else None


def _talk(
    source: str,
    key: str,
    title: str,
    said: list[Said | None],
    start: datetime | None = None,
) -> Talk:
    kept = tuple(one for one in said if one)
    return Talk(source, key, title, kept, start, len(said) - len(kept))


def _joined(parts: Any) -> str:
    """The words of a message that comes in parts, with a mark where there was a picture."""
    return "\n".join(part for part in _parts(parts) if part)


def _parts(parts: Any) -> Iterator[str]:
    for part in _list(parts):
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            kind = part.get("type") or part.get("content_type")
            if kind in ("image_asset_pointer", "image", "image_url"):
                yield "[image]"
            elif kind in ("text", "audio_transcription", "input_text", "output_text", None):
                yield _text(part.get("text"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
