"""Keys and tokens at the door: refused in memory, masked in recall, named in hand edits."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsagent import Agent, call, tool
from fsagent.check import check
from fsagent.clock import Clock
from fsagent.errors import ConfigError, SecretRefused
from fsagent.records import Warned
from fsagent.secret import find, masked, new_in

from conftest import SHARED, git, subjects
from test_cli import Shell, Terminal, shell  # noqa: F401 - a fixture

Make = Callable[..., Agent]

_RANDOM = random.Random(11)
MIXED = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def drawn(size: int, alphabet: str = MIXED) -> str:
    """Characters drawn by lot, of every kind that the alphabet has."""
    while True:
        text = "".join(_RANDOM.choice(alphabet) for _ in range(size))
        if any(map(str.isdigit, text)) and sum(map(str.isalpha, text)) > size // 3:
            return text


# Put together here, so that no scanner takes this file for one that leaks something.
KEY = "sk-" + "proj-" + drawn(48)
FORMS = {
    "OpenAI key": KEY,
    "Anthropic key": "sk-" + "ant-api03-" + drawn(93),
    "API key": "sk-" + drawn(32, HEX),
    "GitHub token": "ghp" + "_" + drawn(36),
    "AWS access key": "AK" + "IA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "Google API key": "AI" + "za" + drawn(35),
    "Slack token": "xox" + "b-123456789012-1234567890123-" + drawn(24),
    "Slack webhook": "hooks.slack" + ".com/services/T0123ABCD/B0123ABCD/" + drawn(24),
    "Stripe key": "sk" + "_live_" + drawn(24),
    "Hugging Face token": "hf" + "_" + drawn(34),
    "GitLab token": "glp" + "at-" + drawn(20),
    "npm token": "npm" + "_" + drawn(36),
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" + drawn(60),
    "Telegram bot token": "123456789" + ":AA" + drawn(33),
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0." + drawn(43),
    "Tailscale key": "tskey" + f"-auth-k{drawn(8)}CNTRL-{drawn(32)}",
    "Postman key": "PM" + f"AK-{drawn(24, HEX)}-{drawn(34, HEX)}",
    "Doppler token": "dp" + f".pt.{drawn(43)}",
    "PlanetScale token": "pscale" + f"_tkn_{drawn(43)}",
    "Square token": "sq0" + f"atp-{drawn(22)}",
    "Heroku key": "HR" + f"KU-AA{drawn(58)}",
    "Fly token": "fm" + f"2_{drawn(120)}==",
    "Resend key": "re" + f"_{drawn(8)}_{drawn(24)}",
    "Render key": "rnd" + f"_{drawn(32)}",
    "ElevenLabs key": "sk" + f"_{drawn(48, HEX)}",
    "Contentful token": "CF" + f"PAT-{drawn(43)}",
    "Dropbox token": "sl" + f".u.{drawn(180)}",
    "Discord bot token": "MTA" + f"{drawn(23)}.{drawn(6)}.{drawn(38)}",
    "private key": "-----BEGIN RSA "
    + f"PRIVATE KEY-----\n{drawn(64)}\n-----END RSA PRIVATE KEY-----",
    "password in an address": "postgres://tim:" + f"{drawn(12)}@db.example.org/x",
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_that_an_issuer_documents_is_found_wherever_it_stands(kind: str) -> None:
    secret = FORMS[kind]
    for text in (secret, f"It is {secret}.", f"- **Key**: `{secret}`\n", json.dumps({"k": secret})):
        (found,) = find(text)
        assert found.kind == kind
        assert secret.replace("\n", "\\n").startswith(found.text[:20])
        assert text[found.start :].startswith(found.text)
    shown, _ = masked(f"before {secret} after")
    assert shown.startswith("before ")
    assert secret[-12:] not in shown or kind in ("password in an address", "private key")
    assert f"({kind}: not kept)" in shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("api_key = {}", drawn(24)),
        ("ACME_API_KEY={}", drawn(32, HEX)),
        ('"clientSecret": "x", "client_secret": "{}"', drawn(24)),
        ("My API key for Acme is {}, keep it.", "aB3dE9xQ2LmN7pR5tV8w"),
        ("## Token of the staging server\n\n{}\n", "aB3dE9xQ2LmN7pR5tV8w"),
        ("Authorization: Bearer {}", drawn(40)),
        ("curl https://api.acme.org/v1?token={}", drawn(24)),
        ("wifi password: {}", "Tr0ub4dor&3"),
        ("Das Passwort ist {}", "Blau!Katze7"),
        ("Das Passwort lautet {}", "Blau!Katze7"),
        ("My password is now {}", "Blue!Cat77"),
        ("密码：{}", "Xk9mP2vL77"),
        ("我的密码是 {}", "Xk9mP2vL77"),
        ("パスワードは{}", "Xk9mP2vL77"),
        ("パスワードは「{}」です。", "Xk9mP2vL77"),
        ("密码是“{}”。", "Xk9mP2vL77"),
        ("口令:{}，别忘了", "Xk9mP2vL77"),
        ("비밀번호는 {}입니다", "Xk9mP2vL77"),
        ("我的API密钥是{}，请记住", drawn(24)),
        ("密钥：{}", drawn(32, HEX)),
        ("APIキーは{}です", drawn(24)),
        ("トークン：{}", drawn(24)),
        ("Here is my key:\n\n```\n{}\n```\n", drawn(32, HEX)),
        ("The API key:\n\n```text\n{}\n```\n", drawn(32, HEX)),
        ("The key:\n```\n{}\n```\n", drawn(24)),
        ("GITHUB_CLIENT_SECRET={}", drawn(40, HEX)),
        ('{{"secret": "{}"}}', drawn(40, HEX)),
        ("HEROKU_API_KEY={}", "550e8400-e29b-41d4-a716-446655440000"),
        ("FLY_API_TOKEN=FlyV1 {}", "fm" + f"2_{drawn(120)}"),
        ("Authorization: Basic {}", base64.b64encode(b"tim:Tr0ub4dor&3").decode()),
        ('-H "authorization: basic {}"', base64.b64encode(b"api:key-77").decode()),
        ('{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}', base64.b64encode(b"t:aB3dE5g").decode()),
        ("https://x.blob.core.windows.net/c?sv=2022-11-02&sr=b&sig={}", drawn(43) + "%3D"),
        ("https://x.blob.core.windows.net/c?sig={}&se=2027-01-01", drawn(43) + "="),
        ("Authorization: SSWS {}", "00" + drawn(40)),
    ],
)
def test_a_value_with_a_telling_name_is_found(text: str, value: str) -> None:
    assert [one.text for one in find(text.format(value))] == [value]


INNOCENT = [
    "commit 3f8be31f0c2d4a5b6c7d8e9f0a1b2c3d4e5f6a7b: the token was renamed",
    "token: 3f8be31f0c2d4a5b6c7d8e9f0a1b2c3d4e5f6a7b",
    "The secret of 550e8400-e29b-41d4-a716-446655440000 is patience.",
    "api_key: 550e8400-e29b-41d4-a716-446655440000",
    "token 01ARZ3NDEKTSV4RRFFQ69G5FAV, turn 01m7yyt9az7xssm20p",
    "token: 01m7yyt9az7xssm20p",
    f"The token image: data:image/png;base64,{base64.b64encode(bytes(range(256)) * 4).decode()}",
    f"secret santa: {hashlib.sha256(b'x').hexdigest()[:40]}",
    f"integrity of the key file: sha512-{base64.b64encode(hashlib.sha512(b'x').digest()).decode()}",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKz0o5hD8X5bq8m1N7fXw2cYp3vJ0uQe4rT6sL9aBcDe tim@home",
    "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----",
    "The password is forgotten. The key to success is Donaudampfschifffahrtsgesellschaft2026.",
    "Der Schlüssel liegt unter Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz.",
    "Her key: https://docs.example.org/d/1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms/edit#gid=0",
    "The class AccessTokenProviderV2Factory makes a token; see HttpTokenCache3Test.",
    "密码学是一门有趣的学科,令牌 token 也是。 パスワードを忘れました。 пароль забыт навсегда",
    "مفتاح السيارة تحت السجادة، والسر في الصندوق 2026-11-21",
    "export OPENAI_API_KEY=your-key-here; export TOKEN=$ACME_TOKEN; key: sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "AWS shows AKIAIOSFODNN7" + "EXAMPLE in its documentation.",
    "postgres://user:password@localhost/db and https://example.org:8080/a@b",
    "IBAN: DE89 3704 0044 0532 0130 00, phone token: +49 170 1234567, 2026-11-21T11:45:39.793Z",
    "task-manager-for-very-long-lists-of-things-1234567890, risk-assessment-2026-final-version-3",
    "The secret ingredient is cinnamon/cardamom-and-nutmeg_from_the_market.",
    "token contract 0xdAC17F958D2ee523a2206206994597C13D831ec7, Tracking token: 1Z999AA10123456784",
    "https://user:{password}@host/x and postgres://tim:{settings.password}@db/x",
    "token toolu_01A09q90qw90lq917835lq9, token: call_aB3dE9xQ2LmN7pR5tV8w",
    "Your password is Case-Sensitive2. access key: Building7/Floor3/Room12/Desk4",
    "Authorization: Basic dXNlcjpwYXNzd29yZA== is user:password; Basic Authorization of 2026",
    "re_compile_all_the_expressions, sk_learn, sl.append, dp.pt.x, fm2_radio, rnd_state_of_the_art",
    "https://example.org/?sig=short&sv=1 and a picture?sr=b&sig=none",
    "令牌环网是一种局域网技术。トークンは言葉の単位です。密码是什么？密钥：见保险箱。",
    "Press any key:\n\n```\nprint('Hello, World of 2026 and of many words')\n```",
    "The MTA runs trains. NOTE.THIS.2026 and MTA0NjE4",
    "tokens: 8192, max_tokens=4096, token_count: 1234567890123456789",
]  # fmt: skip


@pytest.mark.parametrize("text", INNOCENT, ids=range(len(INNOCENT)))
def test_ids_digests_images_and_words_are_no_secrets(text: str) -> None:
    assert find(text) == []


def test_our_own_ids_are_no_secrets_even_where_they_are_called_so() -> None:
    clock = Clock()
    assert not any(find(f"token: {clock.id()}\nsecret={clock.id()}") for _ in range(2000))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the conversations are not there")
def test_no_text_of_real_conversations_looks_like_a_secret() -> None:
    data = json.loads((SHARED / "data" / "locomo-dev.json").read_text())
    texts = list(_texts(data))
    assert len(texts) > 10_000
    assert [text for text in texts if find(text)] == []


@pytest.mark.parametrize(
    "part",
    ["1", "a", "key ", "-----BEGIN PRIVATE KEY-----", "token: ", "a_", "http://", "A1b2", "eyJ",
     "secret=aA1.", "://:a", "token\n", "sk-", "password is "],
)  # fmt: skip
def test_no_text_takes_long(part: str) -> None:
    start = time.process_time()
    find(f"key {part * (100_000 // len(part))} key")
    assert time.process_time() - start < 2


# ── the door ──────────────────────────────────────────────────────────────────────────────────


def everything(agent: Agent) -> bytes:
    """All bytes below the directory: files, journal, and what is in every object."""
    whole = b"".join(p.read_bytes() for p in sorted(agent.root.rglob("*")) if p.is_file())
    ids = git(agent, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    return whole + b"".join(git(agent, "cat-file", "-p", oid).encode() for oid in ids)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("core_memory_append", {"label": "human", "content": f"Key: {KEY}"}),
        (
            "core_memory_replace",
            {"label": "human", "old_content": "Name: Tim", "new_content": f"Name: {KEY}"},
        ),
        ("memory_insert", {"label": "human", "new_string": KEY}),
        ("memory_rethink", {"label": "human", "new_memory": f"Name: Tim\n{KEY}"}),
        ("archival_memory_insert", {"content": f"The key is {KEY}."}),
        ("archival_memory_insert", {"content": "A key.", "tags": [KEY]}),
    ],
)
def test_a_tool_is_refused_and_told_what_to_do(make: Make, name: str, arguments: Any) -> None:
    agent = make(call(name, **arguments), "I did not keep it.")
    turn = agent.chat("Remember this.")
    (result,) = turn.tool_calls
    assert (result.status, result.commit) == ("error", None)
    assert result.text.startswith("Nothing was written: this looks like an OpenAI key (sk-pr…)")
    assert "Write where the secret is kept, not the secret." in result.text
    assert subjects(agent) == ["turn: Remember this.", "init: sarah"]
    assert git(agent, "status", "--porcelain") == ""
    assert KEY.encode() not in everything(agent)
    assert "(OpenAI key: not kept)" in "".join(call.arguments for _, call in calls(agent))


def calls(agent: Agent) -> list[Any]:
    found = [record for path in agent.store.segments() for record in agent.store.records(path)]
    return [(record, call) for record in found for call in record.tool_calls]


def test_what_was_there_before_does_not_keep_a_block_from_being_changed(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content="Likes tea."), "Yes.")
    (agent.root / "core/human.md").write_text(f"Name: Tim\nKey: {KEY}\n")
    turn = agent.chat("I like tea.")
    assert turn.tool_calls[0].status == "success"
    agent.blocks["human"] = f"Name: Tim\n{KEY} and tea\n"
    with pytest.raises(SecretRefused):
        agent.blocks["human"] = f"Name: Tim\n{KEY}\n{FORMS['GitHub token']}\n"
    agent.blocks["human"] = "Name: Tim\n"


def test_a_message_is_masked_before_it_is_kept_or_sent(make: Make) -> None:
    agent = make("I see.")
    events = list(agent.stream(f"Use {KEY} for it."))
    warned = next(event.text for event in events if isinstance(event, Warned))
    assert warned.startswith("Your message holds what looks like an OpenAI key (sk-pr…): it was")
    assert KEY.encode() not in everything(agent)
    sent = json.dumps(agent.client.prompts[0].messages)
    assert KEY not in sent
    assert "Use (OpenAI key: not kept) for it." in sent
    assert subjects(agent)[0] == "turn: Use (OpenAI key: not kept) for it."


def test_what_the_model_and_its_tools_say_is_masked_in_recall(make: Make) -> None:
    @tool
    def environment(ctx: Any) -> str:
        """Show the environment."""
        return f"API_KEY={KEY}"

    agent = make(call("environment"), f"It is {KEY}.", tools=[environment])
    turn = agent.chat("What is the key?")
    assert turn.reply == f"It is {KEY}."  # what was said was said
    assert KEY.encode() not in everything(agent)


def test_a_hand_edit_is_taken_and_named(make: Make) -> None:
    agent = make("Hm.", "Hm.")
    (agent.root / "core/human.md").write_text(f"Name: Tim\nKey: {KEY}\n")
    turn = agent.chat("Hi.")
    (warning,) = turn.warnings
    assert warning.startswith("core/human.md, line 2: this looks like an OpenAI key (sk-pr…)")
    assert f"fsagent purge {agent.root}" in warning
    recall = "".join((agent.root / path).read_text() for path in agent.store.segments())
    assert KEY not in recall
    assert "(OpenAI key: not kept)" in recall  # the event that tells the agent of the edit
    finding = next(f for f in check(agent).findings if "looks like" in f.text)
    assert (finding.severity, finding.place) == ("problem", "core/human.md:2")
    assert KEY not in finding.text + finding.remedy
    assert agent.chat("Hi again.").warnings == ()


def test_what_a_person_allows_is_written(make: Make) -> None:
    agent = make(call("core_memory_append", label="human", content=KEY), "Kept.")
    config = agent.root / "agent.yaml"
    config.write_text(config.read_text() + 'allow: ["sk-proj*", "password"]\n')
    assert agent.chat(f"Keep {KEY}").tool_calls[0].status == "success"
    assert KEY in agent.blocks["human"].text
    agent.notes.add("The wifi password is Tr0ub4dor&3x.")  # allowed by its kind
    with pytest.raises(SecretRefused):
        agent.notes.add(FORMS["GitHub token"])
    assert [f for f in check(agent).findings if "looks like" in f.text] == []
    config.write_text(config.read_text() + "allow: {a: 1}\n")
    with pytest.raises(ConfigError, match="allow must be a list of patterns"):
        agent.config  # noqa: B018


def test_binary_files_are_not_read_as_text() -> None:
    assert new_in(b"\0\1" + KEY.encode(), None) == []
    assert new_in(KEY.encode(), KEY.encode()) == []


def test_init_and_the_command_line_refuse_with_status_1(shell: Shell) -> None:  # noqa: F811
    refused = "Error: Nothing was written: this looks like an OpenAI key (sk-pr…)"
    assert shell.fails("init", "new", "--human", KEY).startswith(refused)
    assert not (shell.folder / "new").exists()
    assert shell.fails("note", "sarah", f"Key {KEY}").startswith(refused)
    assert shell.fails("edit", "sarah", "human", "--text", KEY).startswith(refused)
    assert shell.json("log", "sarah")[0]["subject"] == "init: sarah"
    shell.script("Hm.")
    _, err = shell.run("chat", "sarah", f"Use {KEY}")
    assert "warning: Your message holds what looks like an OpenAI key" in err
    assert KEY not in json.dumps(shell.json("search", "sarah", "--limit", "50"))


def test_the_history_of_lines_does_not_keep_what_recall_does_not_keep(
    shell: Shell,  # noqa: F811
) -> None:
    shell.script("Hm.")
    terminal = Terminal(shell, "chat", "sarah")
    terminal.until("you> ")
    terminal.type(f"use {KEY} please\n")
    terminal.until("Hm.")
    terminal.type("/quit\n")
    assert terminal.end() == 0
    (history,) = (path for path in (shell.folder / "state").iterdir() if path.is_file())
    assert "use (OpenAI key: not kept) please" in history.read_text()
    assert KEY not in history.read_text()


def test_looking_costs_little() -> None:
    """A block of the usual size takes a tenth of a millisecond, a few hundredths of its commit."""
    block = "Lives in Utrecht, likes tea, and her cat is Ada. " * 40
    find(block)
    start = time.process_time()
    for _ in range(100):
        find(block)
    assert (time.process_time() - start) / 100 < 0.005


def test_a_token_that_is_searched_for_is_not_kept_in_pieces(make: Callable[..., Agent]) -> None:
    secret = "ghp_" + "Z7HAGccwDgCLPDyDAj2IZtq6IVciGVaiOfyh"
    agent = make(call("conversation_search", query=f"{secret} zebu"), "Nothing.")
    agent.chat("Where is it?")
    recall = "".join((agent.root / path).read_text() for path in agent.store.segments())
    assert "GitHub token: not kept" in recall
    assert secret[4:] not in recall
    assert "zebu" in recall


def test_a_name_that_is_a_token_is_refused(tmp_path: Path) -> None:
    secret = "ghp_" + "Z7HAGccwDgCLPDyDAj2IZtq6IVciGVaiOfyh"
    with pytest.raises(SecretRefused, match="GitHub token"):
        Agent.init(tmp_path / "a", name=secret)
    with pytest.raises(SecretRefused, match="GitHub token"):
        Agent.init(tmp_path / secret)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / secret).exists()
