"""Whether a text holds a key or a token: what must not get into a memory that forgets nothing.

Three signs, from the surest to the least sure:

- a form that its issuer documents (``_FORMS``): ``ghp_`` and 36 letters is a GitHub token;
- a value that is assigned to a telling name: ``api_key = …``, ``password: …``, ``?token=…``;
- a random-looking word after a telling name in a sentence: "my API key for Acme is …".

A random-looking word alone is none: ids, digests and images look just so.

The forms are those of the issuers' own documentation; most are listed among the patterns that
GitHub's secret scanning supports (docs.github.com, "Supported secret scanning patterns"). No
library is used, since none fits: see docs/safety.md.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from fsagent.errors import SecretRefused

MOST = 100
"""How many secrets are looked for in one text: after that it is clear what it is."""


@dataclass(frozen=True)
class Secret:
    """Something that looks like a secret: what it is, its text, and where that begins."""

    kind: str
    text: str
    start: int

    @property
    def hint(self) -> str:
        """How the text begins, as far as that gives nothing away."""
        return f"{self.text[: min(5, len(self.text) // 4)]}…"

    def __str__(self) -> str:
        article = "an" if re.match("[AEIOU](?![A-Z]{3})|SSH|n[pt]", self.kind) else "a"
        return f"{article} {self.kind} ({self.hint})"


# ── forms that issuers document ───────────────────────────────────────────────────────────────

_FORMS: tuple[tuple[str, str, str], ...] = (
    ("Anthropic key", "sk-ant-", r"sk-ant-[\w-]{24,}"),
    ("OpenRouter key", "sk-or-", r"sk-or-[\w-]{24,}"),
    ("OpenAI key", "sk-", r"sk-(?:proj|svcacct|admin|None)-[\w-]{24,}"),
    ("API key", "sk-", r"sk-[A-Za-z0-9]{20,}"),  # OpenAI of old, DeepSeek, Moonshot and others
    ("Groq key", "gsk_", r"gsk_[A-Za-z0-9]{40,}"),
    ("xAI key", "xai-", r"xai-[A-Za-z0-9]{60,}"),
    ("Perplexity key", "pplx-", r"pplx-[A-Za-z0-9]{40,}"),
    ("Replicate token", "r8_", r"r8_[A-Za-z0-9]{30,}"),
    ("Hugging Face token", "hf_", r"hf_[A-Za-z0-9]{30,}"),
    ("NVIDIA key", "nvapi-", r"nvapi-[\w-]{40,}"),
    ("LangSmith key", "lsv2_", r"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    ("Tavily key", "tvly-", r"tvly-[\w-]{20,}"),
    ("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[oprsu]_[A-Za-z0-9]{36,}"),
    ("GitHub token", "github_pat_", r"github_pat_\w{40,}"),
    (
        "GitLab token",
        "glpat- gldt- glrt- glptt- glft- glimt- glsoat- glcbt- glagent- gloas-",
        r"gl(?:pat|dt|rt|ptt|ft|imt|soat|cbt|agent|oas)-[\w.-]{20,}",
    ),
    ("AWS access key", "AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    ("Google API key", "AIza", r"AIza[\w-]{35}"),
    ("Google client secret", "GOCSPX-", r"GOCSPX-[\w-]{28}"),
    ("Google access token", "ya29.", r"ya29\.[\w-]{30,}"),
    ("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    ("Slack token", "xox", r"xox[abeoprs]-(?:\d-)?[\w-]{20,}"),
    ("Slack token", "xapp-", r"xapp-\d-[\w-]{20,}"),
    ("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/\w+/T\w+/B\w+/\w{16,}"),
    ("Discord webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/\d{10,}/[\w-]{40,}"),
    ("Telegram bot token", ":AA", r"\d{8,12}:AA[\w-]{33}"),
    ("Stripe key", "k_live_", r"[rs]k_live_[A-Za-z0-9]{16,}"),
    ("Stripe key", "k_test_", r"[rs]k_test_[A-Za-z0-9]{16,}"),
    ("webhook secret", "whsec_", r"whsec_[A-Za-z0-9+/]{24,}=*"),
    ("Twilio key", "SK", r"SK[0-9a-f]{32}"),
    ("SendGrid key", "SG.", r"SG\.[\w-]{22}\.[\w-]{43}"),
    ("Mailgun key", "key-", r"key-[0-9a-f]{32}"),
    ("Mailchimp key", "-us", r"[0-9a-f]{32}-us\d{1,2}"),
    ("Shopify token", "shp", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    ("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    ("Databricks token", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?"),
    ("Vault token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{24,}"),
    ("Terraform token", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}"),
    ("Docker token", "dckr_", r"dckr_[po]at_[\w-]{27,}"),
    ("PyPI token", "pypi-", r"pypi-AgE[\w-]{50,}"),
    ("npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    ("RubyGems key", "rubygems_", r"rubygems_[a-f0-9]{48}"),
    ("Grafana token", "glsa_", r"glsa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8}"),
    ("Sentry token", "sntry", r"sntry[su]_[\w+/=-]{40,}"),
    ("New Relic key", "NRAK-", r"NRAK-[A-Z0-9]{27}"),
    ("Linear key", "lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    ("Notion token", "ntn_", r"ntn_[A-Za-z0-9]{40,}"),
    ("Figma token", "figd_", r"figd_[\w-]{40,}"),
    ("Airtable token", "pat", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    ("Atlassian token", "ATATT3", r"ATATT3[\w=-]{100,}"),
    ("Supabase token", "sbp_", r"sbp_[a-f0-9]{40}"),
    ("1Password token", "ops_eyJ", r"ops_eyJ[\w-]{100,}"),
    ("Tailscale key", "tskey-", r"tskey-[a-z]{3,8}-\w{8,}-\w{16,}"),
    ("Postman key", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    (
        "Doppler token",
        "dp.",
        r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{40,44}",
    ),
    ("PlanetScale token", "pscale_", r"pscale_(?:tkn|oauth|pw)_[\w.=-]{32,64}"),
    ("Square token", "sq0atp- sq0csp-", r"sq0(?:atp-[\w-]{22}|csp-[\w-]{43})"),
    ("Heroku key", "HRKU-", r"HRKU-[\w-]{36,}"),
    (
        "Heroku key",
        "HEROKU_API_KEY",
        r"HEROKU_API_KEY[\"'\\]{0,2}\s?[:=]\s?[\"'\\]{0,2}([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})",
    ),
    ("Fly token", "fm1 fm2", r"fm[12][ar]?_[A-Za-z0-9+/,_-]{60,}={0,2}"),
    ("Fly token", "fo1_", r"fo1_[\w-]{43}"),
    ("Resend key", "re_", r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    ("Render key", "rnd_", r"rnd_[A-Za-z0-9]{28,}"),
    ("ElevenLabs key", "sk_", r"sk_[a-f0-9]{48}"),
    ("Contentful token", "CFPAT-", r"CFPAT-[\w-]{43}"),
    ("Dropbox token", "sl.", r"sl\.(?:u\.)?[\w-]{100,}"),
    ("Okta token", "SSWS", r"SSWS (00[\w-]{40})"),
    (
        "Discord bot token",  # its first part is a number in base64
        "MT Mj Mz ND NT Nj Nz OD OT",
        r"(?:M[Tjz]|N[DTjz]|O[DT])[\w-]{22,26}\.[\w-]{6}\.[\w-]{27,38}",
    ),
    (
        "Azure signature",  # beside what it signs
        "sig=",
        r"s[a-z]{1,2}=[\w%:.+-]{1,60}(?:&|&amp;|\\u0026)sig=([A-Za-z0-9%+/]{40,64}(?:%3[Dd]|=)?)",
    ),
    (
        "Azure signature",
        "sig=",
        r"sig=([A-Za-z0-9%+/]{40,64}(?:%3[Dd]|=)?)(?:&|&amp;|\\u0026)s[a-z]{1,2}=",
    ),
    ("age key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    ("JSON Web Token", "eyJ", r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{16,}"),
    (
        "private key",
        "-----BEGIN",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?!-----END)[\s\S]){30,}(?:-----END [A-Z0-9 ]*-----)?",
    ),
    ("PuTTY private key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-\d:[\s\S]{100,}"),
    (
        "password in base64",
        "uthorization",
        r"[Aa]uthorization[\"'\\]{0,3}\s{0,3}[:=]\s{0,3}[\"'\\]{0,3}[Bb]asic "
        r"([A-Za-z0-9+/]{8,}={0,2})",
    ),
    (
        "password in base64",  # as Docker keeps it
        'auth" auth\\"',
        r"auth\\{0,3}\"\s{0,3}:\s{0,3}\\{0,3}\"([A-Za-z0-9+/]{8,}={0,2})",
    ),
    (
        "password in an address",
        "://",
        r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"]{0,80}:[^\s/@'\"]{4,80}@",
    ),
)
"""Kind; words of which every such text holds one; its pattern, with a group where not all of it is
the secret. The first one names the kind."""

_HINTS = tuple((kind, tuple(hints.split()), form) for kind, hints, form in _FORMS)


@cache
def _pattern(form: str) -> re.Pattern[str]:
    """A form, compiled when the first text has its hint: all of them take 30 ms."""
    # What only begins in the middle of a word is a part of something else. That is looked at behind
    # the letters that the form begins with: those alone are searched for fast.
    head = _HEAD.match(form)
    first = head[0] if head else ""
    begin = rf"(?:(?<![A-Za-z0-9_-]{first})|(?<=\\[nrt]{first}))"
    return re.compile(f"{first}{begin}{form[len(first) :]}")


_HEAD = re.compile(r"[\w:=/-]+(?![\w:=/?*+{-])")
"""Letters that stand for themselves, at the beginning of a form."""


def _by_form(text: str) -> Iterator[Secret]:
    for kind, hints, form in _HINTS:
        if any(hint in text for hint in hints):
            pattern = _pattern(form)
            for found in pattern.finditer(text):
                if _is_real(kind, found[pattern.groups]):
                    yield Secret(kind, found[pattern.groups], found.start(pattern.groups))


def _is_real(kind: str, value: str) -> bool:
    """Whether a text of that form is a secret, and does not stand for one."""
    if kind == "password in an address":
        password = value.rstrip("@").rsplit(":", 1)[1]
        return not _placeholder(password) and (_mixed(password) or not password.isalnum())
    if kind == "password in base64":
        return _is_name_and_password(value)
    if kind == "API key":
        return _random(value[3:], 0.2)
    return "private key" in kind or not _placeholder(value)


def _is_name_and_password(value: str) -> bool:
    """Whether base64 holds ``name:password``, one of which somebody drew by lot."""
    try:
        said = base64.b64decode(value + "=" * (-len(value) % 4)).decode()
    except ValueError:
        return False
    name, colon, password = said.partition(":")
    drawn = _mixed(said) or not password.isalnum()
    return bool(colon) and said.isprintable() and drawn and not _placeholder(password or name)


# ── values after a telling name ───────────────────────────────────────────────────────────────

_KEYS = (
    r"(?:api|access|secret|private|auth|account|service|encryption|signing|master|license|webhook|my)"
    r"[ _-]?keys?"
    r"|tokens?|secrets?|credentials?|bearer"
    r"|api[ _-]?schlüssel"
    r"|(?:api ?|token ?)?(?:密钥|密鑰|金鑰|令牌)"
    r"|(?:api|アクセス) ?キー|トークン|秘密鍵|(?:api ?|비밀)키|토큰"
)
_PASSWORDS = (
    r"pass(?:word|wd|phrase|code|wort)s?|pwd|kennwort|contraseña|mot de passe|senha|wachtwoord|"
    r"пароль|密码|密碼|口令|パスワード|暗証番号|비밀번호"
)
_WORDS = (
    *("key", "token", "secret", "credential", "bearer", "schlüssel", "pass", "pwd", "kennwort"),
    *("contraseña", "senha", "wachtwoord", "пароль", "密码", "密碼", "口令", "パスワード"),
    *(
        "暗証番号",
        "비밀번호",
        "密钥",
        "密鑰",
        "金鑰",
        "令牌",
        "キー",
        "トークン",
        "秘密鍵",
        "키",
        "토큰",
    ),
)
"""One of these stands in whatever ``_KEYS`` or ``_PASSWORDS`` match."""

_REACH = 60
"""Characters after a telling name in which its value may begin, in a sentence or below it."""

_VALUE = r"[A-Za-z0-9_+/~-][A-Za-z0-9_+/=.~-]{15,250}(?![A-Za-z0-9_+/=~-])"
"""What is longer is an image, a certificate or the like."""


_AFTER_ESCAPE = r"(?<=\\[nrt])"
"""Where a line begins in JSON: the letter before is none of the word's."""

_EAST_ASIAN = "\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff01-\uff60“”"
"""What a password is followed by, without a space, and does not consist of."""


@cache
def _named() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    begin = rf"(?:(?<![a-z])|{_AFTER_ESCAPE})"
    close = r"[\"'`*\]\\「『“]{0,4}"
    fence = r"(?:```\w{0,10}\n\s{0,4})?"
    then = rf"{close}\s{{0,4}}(?::=|=>|=|:|：|＝)\s{{0,4}}{fence}{close}(?:Bearer |Basic )?{close}"
    verb_of_east_asia = r"\s?(?:是|为|為|は|が|은|는)\s?[:：]?\s?"
    key = re.compile(rf"{begin}(?:{_KEYS})(?![a-z0-9_-])", re.IGNORECASE)
    assigned = re.compile(
        rf"{begin}(?P<name>(?:{_KEYS})(?![a-z])|keys?(?=[:：]\s{{1,4}}```))"
        rf"(?:{then}|{verb_of_east_asia}{close})(?P<value>{_VALUE})",
        re.IGNORECASE,
    )
    verb = r" (?:(?:is|was)(?: now)?|now is|ist|lautet|es|est|é) "
    or_is = rf"(?:{then}|{close}(?:{verb}|{verb_of_east_asia}){close})"
    password = re.compile(
        rf"{begin}(?:{_PASSWORDS}){or_is}([^\s\"'`{_EAST_ASIAN}]{{8,80}})",
        re.IGNORECASE,
    )
    return key, assigned, password


def _by_name(text: str) -> Iterator[Secret]:
    low = text.lower()
    if not any(word in low for word in _WORDS):
        return
    key, assigned, password = _named()
    for found in assigned.finditer(text):
        value = found["value"].rstrip(".,;")
        if _random(value, 0.2) and (not _is_id(value) or _is_hex_key(found["name"], value)):
            yield Secret("key", value, found.start("value"))
    for found in password.finditer(text):
        value = found[1].rstrip(".,;:!?)]}>*")
        if _is_password(value):
            yield Secret("password", value, found.start(1))
    for found in key.finditer(text):
        near = text[found.end() : found.end() + _REACH + 300]
        near = re.sub(r"\w+://\S+|data:\S+", lambda url: " " * len(url[0]), near)
        for word in re.finditer(rf"(?<![\w/+=.-]){_VALUE}", near):
            value = word[0].rstrip(".,;")
            if word.start() < _REACH and _random(value, 0.36, classes=3) and not _is_id(value):
                yield Secret("key", value, text.index(value, found.end()))


def _random(value: str, restless: float, classes: int = 2) -> bool:
    """Whether somebody drew these characters by lot, rather than wrote them.

    ``restless``: in which share of its steps the kind of character changes (a lower-case letter, an
    upper-case one, a digit). In words and names written together that is rare: a random string of
    letters and digits has 0.6, one of lower-case letters and digits 0.4, ``HttpTokenV2`` 0.3.
    """
    core = re.sub("[^A-Za-z0-9]", "", value)
    if len(core) < 16 or _placeholder(value) or _PLACE.fullmatch(value):
        return False
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in core]
    if len(set(kinds)) < classes or "d" not in kinds or set(kinds) == {"d"}:
        return False
    steps = sum(a != b for a, b in itertools.pairwise(kinds)) / (len(core) - 1)
    if classes > 2 and kinds.count("d") < 2 and steps < 0.5:
        return False
    return steps >= restless and entropy(core) >= 3.0


def entropy(text: str) -> float:
    """Bits for each character, by how often each occurs in ``text`` (Shannon)."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


_IDS = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"  # UUID
    r"|[0-7][0-9a-hjkmnp-tv-z]{25}|0[0-9a-hjkmnp-tv-z]{17}"  # ULID; a record, note or change
    r"|[0-9a-f]{7,40}|[0-9a-f]{64}|sha(?:1|256|384|512)[-:=][\w+/=-]+"  # a commit, a digest
    r"|\d{4}-?\d\d-?\d\dt?[\d:.zt+-]*"  # a time
    r"|0x[0-9a-f]{40}|1z[0-9a-z]{16}"  # where the contract of a coin is, or a parcel
    r"|(?:srv)?toolu_\w{16,}|(?:call|msg|req|run|thread|asst|file|resp|chatcmpl)[_-]\w{16,}",
    re.IGNORECASE,
)

_PLACE = re.compile(r"(?:[A-Za-z][a-z]{2,}\d{0,4}[/_.-])+[A-Za-z][a-z]{2,}\d{0,4}")
"""Words with numbers, as of a room or a version: ``Building7/Floor3``."""

_HEX_KEY = re.compile(r"[0-9a-f]{32}|[0-9a-f]{41,64}", re.IGNORECASE)
_HEX_SECRET = re.compile(r"[0-9a-f]{40}", re.IGNORECASE)


def _is_hex_key(name: str, value: str) -> bool:
    """Whether digits as digests have them are a key, where somebody calls them one: the 40 of a
    commit only where they are called a secret."""
    called_secret = name.lower().startswith("secret") and "key" not in name.lower()
    return bool(_HEX_KEY.fullmatch(value) or (called_secret and _HEX_SECRET.fullmatch(value)))


def _is_id(value: str) -> bool:
    """Whether this is an id or a digest, which is random too, but no secret."""
    return _IDS.fullmatch(value.strip("=")) is not None


def _is_password(value: str) -> bool:
    kinds = {
        "d" if c.isdigit() else "l" if c.islower() else "u" if c.isupper() else "s" for c in value
    }
    told = re.search(r"://|\w\(", value) or _placeholder(value) or _is_id(value)
    return len(value) >= 8 and len(kinds) >= 3 and _mixed(value) and not told


def _mixed(value: str) -> bool:
    """Whether there are both digits and other characters in it."""
    return any(map(str.isdigit, value)) and not value.isdigit()


_STANDS_FOR = re.compile(
    r"example|your|changeme|placeholder|redacted|purged|dummy|case-?sensitive|<|^\{[^{}]*\}$|\{\{|\$\{|\$[A-Z_]+$|%\(|\.\.\.|…|"
    r"xxx|\*\*\*|(.)\1{5}|abcdefgh",
    re.IGNORECASE,
)


def _placeholder(value: str) -> bool:
    """Whether this stands for a secret, as in instructions: ``your-key``, ``xxxx``."""
    return len(set(value)) < 5 or _STANDS_FOR.search(value) is not None


# ── what is asked of it ───────────────────────────────────────────────────────────────────────


def find(text: str, allowed: Iterable[str] = ()) -> list[Secret]:
    """The secrets in ``text``, in order and without those that lie in others.

    ``allowed`` are patterns (``*`` stands for anything) of texts, or of kinds, that are none.
    """
    found = sorted((*_by_form(text), *_by_name(text)), key=lambda one: (one.start, -len(one.text)))
    kept: list[Secret] = []
    end = -1
    patterns = tuple(allowed)
    for one in found:
        if one.start >= end and len(kept) < MOST:
            end = one.start + len(one.text)
            if not any(fnmatchcase(one.text, p) or fnmatchcase(one.kind, p) for p in patterns):
                kept.append(one)
    return kept


def masked(text: str, allowed: Iterable[str] = ()) -> tuple[str, list[Secret]]:
    """``text`` with a mark in the place of each secret, and what these were."""
    found = find(text, allowed)
    for one in reversed(found):
        text = f"{text[: one.start]}({one.kind}: not kept){text[one.start + len(one.text) :]}"
    return text, found


def masked_json(text: str, allowed: Iterable[str] = ()) -> str:
    """The same for text that is JSON: no mark falls into the middle of an escape."""
    if not masked(text, allowed)[1]:
        return text
    try:
        return json.dumps(_masked_within(json.loads(text), tuple(allowed)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return masked(text, allowed)[0]


def _masked_within(value: Any, allowed: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return masked(value, allowed)[0]
    if isinstance(value, list):
        return [_masked_within(inner, allowed) for inner in value]
    if isinstance(value, dict):
        return {key: _masked_within(inner, allowed) for key, inner in value.items()}
    return value


def new_in(data: bytes, before: bytes | None, allowed: Iterable[str] = ()) -> list[Secret]:
    """The secrets that ``data`` holds and ``before`` does not; none in what is no text."""
    if b"\0" in data[:8000]:
        return []
    text = data.decode(errors="replace")
    found = find(text, allowed)
    if found and before:
        old = before.decode(errors="replace")
        found = [one for one in found if one.text not in old]
    return found


def refuse(data: bytes, before: bytes | None = None, allowed: Iterable[str] = ()) -> None:
    """Stop a write of ``data``, in the place of ``before``, that brings a secret into memory.

    Raises:
        SecretRefused: naming it, and what to do.
    """
    for one in new_in(data, before, allowed):
        raise SecretRefused(
            f"Nothing was written: this looks like {one}, and memory is kept in Git for ever. "
            "Write where the secret is kept, not the secret. If it is none, a person may allow it "
            f'in agent.yaml: allow: ["{_allowing(one)}"]'
        )


def _allowing(one: Secret) -> str:
    """A pattern that fits this secret without telling it."""
    head = re.match(r"[A-Za-z0-9_-]*", one.text[: min(5, len(one.text) // 4)])
    return f"{head[0] if head else ''}*" if one.kind != "password" else "password"
