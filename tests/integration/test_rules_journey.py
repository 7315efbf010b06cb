"""Local rules from the files of a configuration, through the real parser and the whole journey."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from contentfilter import assembly, config
from contentfilter.errors import ConfigError
from contentfilter.policy.settings import Policy
from quarantine.index import Query
from tests.journey import journey
from tests.policies import policies_of

TABLES = {
    "header_checks": """
/^Subject: .*\\burgent\\b/        SCORE 4.5 LOCAL_URGENT
/^X-Originating-IP:/             IGNORE
/^Subject: (.*) \\[internal\\]$/   REPLACE Subject: $1
/^List-Id: <(news)>/             PREPEND X-Kind: $1
/^From: .*@boss\\.example/        BCC archive@x.example
/^Date: .* 19[0-9][0-9] /        WARN an old date
/^To: undisclosed/               REDIRECT help@x.example
""",
    "mime_header_checks": "/name=.*счёт\\.exe/ REJECT 5.7.1 no programs, please\n",
    "nested_header_checks": "/^Subject: backscatter/ DISCARD\n",
    "body_checks": "/привет, лотерея/ HOLD\n/^wire transfer$/ SCORE 3 LOCAL_WIRE\n",
}


@pytest.fixture
def rules(tmp_path: Path) -> config.Config:
    names = "".join(f'{name} = "rules/{name}"\n' for name in TABLES)
    (tmp_path / "rules").mkdir()
    for name, text in TABLES.items():
        (tmp_path / "rules" / name).write_text(text)
    file = tmp_path / "contentfilter.toml"
    file.write_text(f"[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n[rules]\n{names}")
    return config.load(file)


HEAD = b"From: a@b.example\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"


def mail(*fields: str, body: bytes = b"body\r\n") -> bytes:
    return HEAD + b"".join(f"{field}\r\n".encode() for field in fields) + b"\r\n" + body


UTF16 = "Content-Type: text/plain; charset=utf-16", "Content-Transfer-Encoding: base64"
UTF16_BODY = b"//4/BEAEOAQyBDUEQgQsACAAOwQ+BEIENQRABDUETwQ=\r\n"


@pytest.mark.parametrize(
    ("message", "reply", "delivered", "kept"),
    [
        (mail("Subject: hi"), "250 2.0.0", {"bob", "dave"}, False),
        (mail("Subject: urgent"), "250 2.0.0", {"bob", "dave"}, False),
        (mail("Subject: urgent", body=b"wire transfer\r\n"), "250 2.7.0", {"dave"}, True),
        (mail("Subject: urgent", body=b"a wire transfer\r\nwire transfers\r\n"), "250 2.0.0", {"bob", "dave"}, False),
        (
            mail('Content-Disposition: attachment; filename="=?koi8-r?B?08Ouo9QuZXhl?="'),
            "250 2.0.0",
            {"bob", "dave"},
            False,
        ),
        (
            mail("MIME-Version: 1.0", "Content-Disposition: attachment; filename*=koi8-r''%D3%DE%A3%D4.exe"),
            "550 5.7.1",
            {"dave"},
            False,
        ),
        (
            mail("MIME-Version: 1.0", "Content-Type: message/rfc822", body=b"Subject: backscatter\r\n\r\nx\r\n"),
            "250 2.7.0",
            {"dave"},
            False,
        ),
        (mail("MIME-Version: 1.0", *UTF16, body=UTF16_BODY), "250 2.7.0", {"dave"}, True),
        (mail("To: undisclosed"), "250 2.0.0", {"help", "dave"}, False),
    ],
    ids=["plain", "score", "scores", "words", "other name", "koi8-r", "nested", "utf-16", "redirect"],
)
async def test_what_rules_do(
    rules: config.Config, tmp_path: Path, message: bytes, reply: str, delivered: set[str], kept: bool
) -> None:
    default = Policy(banned_rules=(), bypass_header_checks=True, kill_level=7.5)
    policies = policies_of(default, {"dave@x.example": Policy(bypass_rule_checks=True)})
    async with journey(tmp_path, inspectors=assembly.inspectors_for(rules), policies=policies) as way:
        bob, dave = await way.lmtp("bob", "dave", content=message)
        assert (bob[:9], dave[:9]) == (reply, "250 2.0.0")
        assert way.delivered() == delivered
        assert len(way.quarantine.find(Query())) == kept


async def test_edits_and_marks(rules: config.Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields = (
        "X-Originating-IP: [192.0.2.1]",
        "Subject: urgent: =?utf-8?q?gr=C3=BC=C3=9Fe?= [internal]",
        "List-Id: <news>",
        "Date: Mon, 1 Jan 1990 00:00:00 +0000",
    )
    policies = policies_of(Policy(banned_rules=(), bypass_header_checks=True, tag_level=3.0))
    message = mail(*fields).replace(b"a@b.example", b"ceo@boss.example")
    with caplog.at_level(logging.WARNING, "contentfilter"):
        async with journey(tmp_path, inspectors=assembly.inspectors_for(rules), policies=policies) as way:
            await way.lmtp("bob", content=message)
            one, added = way.hop.delivered
    assert (one.rcpt_tos, added.rcpt_tos) == (["bob@x.example"], ["archive@x.example"])
    assert added.rcpt_parameters[0] == ["NOTIFY=NEVER"]
    assert b"X-Originating-IP" not in one.content
    assert b"\r\nX-Kind: news\r\nList-Id: <news>\r\n" in one.content
    assert b"tests=[LOCAL_URGENT=4.5]" in one.content
    # The first rule that hits a line decides for it: the score, not the replacement.
    assert b"[internal]\r\n" in one.content
    assert "WARN an old date" in caplog.text


@pytest.mark.parametrize(
    ("table", "text", "problem"),
    [
        ("body_checks", "/a(?=b)/ REJECT", r"\[rules\] body_checks: .*rules/body_checks, line 1: "),
        ("body_checks", "\n/x/ IGNORE", r"line 2: .*byte for byte"),
        ("header_checks", "/x/ REJEKT", r"line 1: .*REJECT"),
        ("header_checks", "if /x/\n/y/ WARN", r"line 1"),
    ],
)
def test_a_mistake_is_a_configuration_error(tmp_path: Path, table: str, text: str, problem: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / table).write_text(text)
    (tmp_path / "c.toml").write_text(f'[rules]\n{table} = "rules/{table}"')
    with pytest.raises(ConfigError, match=problem):
        config.load(tmp_path / "c.toml")


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[rules]\nbody_checks = "gone"')
    with pytest.raises(ConfigError, match=r"gone: cannot be read: No such file"):
        config.load(tmp_path / "c.toml")
