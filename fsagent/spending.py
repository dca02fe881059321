"""What a turn may take: agent.yaml's ``budget``, asked before each call of the model."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from fsagent.clock import moment
from fsagent.config import AgentConfig
from fsagent.errors import ModelError, OverBudget
from fsagent.llm import Client, Completion, Count, Prompt
from fsagent.records import Usage
from fsagent.tokens import count_message

if TYPE_CHECKING:
    from fsagent.store import Store

LEAST_REPLY = 64
"""Tokens of an answer below which it is not asked for."""

MOST_REPLY = 4096
"""Tokens of an answer beyond which some models refuse to be asked."""


class Purse:
    """What is left of the tokens of a turn and of a day."""

    def __init__(self, store: Store, config: AgentConfig) -> None:
        self._budget = config.budget
        self._spent = 0
        self._scale = 1.0
        """How many tokens the model counts where we count one."""
        self._lost = Usage()
        self._before = 0
        if self._budget.tokens_per_day is not None:
            self._before = spent_today(store, config)

    @property
    def bounded(self) -> bool:
        """Whether tokens are counted at all."""
        return self._budget.tokens_per_turn is not None or self._budget.tokens_per_day is not None

    def room(self, prompt: int, window: int) -> int:
        """How many tokens the answer to a prompt of so many tokens may have, in such a window.

        Raises:
            OverBudget: hardly any, or none.
        """
        size = int(prompt * self._scale)
        need = size + LEAST_REPLY
        found = [MOST_REPLY, max(window - size, LEAST_REPLY)]
        for spent, limit, word, key, later in (
            (
                self._spent,
                self._budget.tokens_per_turn,
                "This turn has",
                "tokens_per_turn",
                "raise it",
            ),
            (
                self._before + self._spent,
                self._budget.tokens_per_day,
                "The calls of today have",
                "tokens_per_day",
                "raise it, or go on tomorrow",
            ),
        ):
            if limit is None:
                continue
            if spent + need > limit:
                raise OverBudget(
                    f"{word} used {spent:,} tokens, and the next call would need {need:,} of the "
                    f"{limit:,} that agent.yaml allows (budget: {key}): {later}."
                )
            found.append(limit - spent - need + LEAST_REPLY)
        return min(found)

    def answer(
        self, client: Client, prompt: Prompt, count: Count, window: int, *, keep: int = 0
    ) -> Completion:
        """The whole answer to a prompt, paid for; so many tokens are left for the call after it.

        Raises:
            OverBudget: the call was not made.
            ModelError: as ``Client.complete``.
        """
        size = 0
        if self.bounded:
            size = sum(count_message(count, message) for message in prompt.messages)
            prompt = replace(prompt, most=self.room(size + keep, window + keep))
        heard: list[str] = []
        answer = Completion("")
        try:
            for part in client.complete(prompt):
                if isinstance(part, Completion):
                    answer = part
                else:
                    heard.append(part)
        except ModelError:
            if self.bounded and heard:
                self._lost += self.take(size, count("".join(heard)), Usage())
            raise
        answer = replace(answer, text=answer.text or "".join(heard))
        if self.bounded:
            return replace(answer, usage=self.take(size, count(answer.text), answer.usage))
        return answer

    def lost(self) -> Usage:
        """The tokens of answers that broke off, since this was asked last."""
        lost, self._lost = self._lost, Usage()
        return lost

    def take(self, prompt: int, answer: int, usage: Usage) -> Usage:
        """Note a call: its tokens as we count them, which stand where the model told none."""
        if usage.prompt:
            self._scale = max(self._scale, usage.prompt / prompt) if prompt else self._scale
        taken = replace(usage, prompt=usage.prompt or prompt, completion=usage.completion or answer)
        self._spent += taken.prompt + taken.completion
        return taken


def spent_today(store: Store, config: AgentConfig) -> int:
    """The tokens of all calls of this day, in the agent's time zone."""
    now = store.clock.now().astimezone(config.zone)
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    begin = max(begin, config.born or begin)
    total = 0
    for path in store.paths("recall", backwards=True):
        day = path.removeprefix("recall/")[:10].replace("/", "-")
        # A segment is called by the day, in UTC, of its first record.
        if day < f"{begin - timedelta(days=2):%Y-%m-%d}":
            break
        for record in store.records(path):
            when = moment(record.ts)
            if record.usage and when and when >= begin:
                total += record.usage.prompt + record.usage.completion
    return total
