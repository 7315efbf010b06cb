"""The dialog without a wire: states, turns and what the envelope holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.envelope import Client, Peer, Protocol, Recipient
from contentfilter.intake.dialog import OUT_OF_TURN, Dialog, State
from contentfilter.intake.settings import IntakeSettings
from contentfilter.reply import Reply

SETTINGS = IntakeSettings(hostname="filter.example", spool_directory=Path("/nonexistent"), max_recipients=3)

LEADING_TO = {
    State.START: (),
    State.READY: (b"EHLO client",),
    State.MAIL: (b"EHLO client", b"MAIL FROM:<a@b>"),
    State.RCPT: (b"EHLO client", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>"),
}

COMMANDS = {
    "XFORWARD": (b"XFORWARD NAME=x", State.READY),
    "MAIL": (b"MAIL FROM:<>", State.MAIL),
    "RCPT": (b"RCPT TO:<x@y>", State.RCPT),
    "DATA": (b"DATA", State.RCPT),
}


def told(*lines: bytes) -> Dialog:
    dialog = Dialog(SETTINGS, "192.0.2.9")
    for line in lines:
        assert dialog.answer(line).positive, line
    return dialog


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_every_state(state: State, command: str) -> None:
    dialog = told(*LEADING_TO[state])
    assert dialog.state is state
    line, then = COMMANDS[command]
    answer = dialog.answer(line)
    refusal = OUT_OF_TURN.get((command, state))
    if refusal is not None:
        assert answer is refusal
        assert (answer.code, answer.enhanced) == (503, "5.5.1")
        assert dialog.state is state
    else:
        assert answer.positive
        assert dialog.state is then


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("line", "want"),
    [
        (b"NOOP", reply.OK),
        (b"noop whatever", reply.OK),
        (b"RSET", reply.OK),
        (b"VRFY bob", reply.CANNOT_VERIFY),
        (b"VRFY", reply.SYNTAX_VRFY),
        (b"HELP", reply.HELP),
        (b"help MAIL", reply.HELP),
        (b"QUIT", reply.GOODBYE),
        (b"QUIT  ", reply.GOODBYE),
        (b"EXPN list", reply.NOT_IMPLEMENTED),
        (b"STARTTLS", reply.NOT_IMPLEMENTED),
        (b"BDAT 10 LAST", reply.NOT_IMPLEMENTED),
        (b"RSET now", reply.SYNTAX_NO_ARGUMENT),
        (b"QUIT now", reply.SYNTAX_NO_ARGUMENT),
        (b"", reply.COMMAND_UNKNOWN),
        (b" NOOP", reply.COMMAND_UNKNOWN),
        (b"GET / HTTP/1.1", reply.COMMAND_UNKNOWN),
        (b"NOOP\tx", reply.COMMAND_UNKNOWN),
        (b"\xff\xfe", reply.COMMAND_UNKNOWN),
        (b"NOOP \0", reply.COMMAND_BINARY),
        (b"MAIL FROM:<a@b>\rRCPT TO:<c@d>", reply.COMMAND_BINARY),
        (b"EHLO", reply.SYNTAX_HELLO),
        (b"HELO ", reply.SYNTAX_HELLO),
        (b"LHLO two words", reply.SYNTAX_HELLO),
        (b"EHLO \xff", reply.SYNTAX_HELLO),
        (b"EHLO \x1b[2J", reply.SYNTAX_HELLO),
    ],
)
def test_commands_that_are_the_same_in_every_state(state: State, line: bytes, want: Reply) -> None:
    assert told(*LEADING_TO[state]).answer(line) is want


def test_ehlo_offers_what_we_do_and_helo_nothing() -> None:
    offered = (
        "filter.example\nPIPELINING\nSIZE 104857600\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN\n"
        "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
    )
    assert Dialog(SETTINGS).answer(b"EHLO me") == Reply(250, "", offered)
    assert Dialog(SETTINGS).answer(b"LHLO me") == Reply(250, "", offered)
    assert Dialog(SETTINGS).answer(b"HELO me") == Reply(250, "", "filter.example")


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        (b"EHLO", b"LHLO", False),
        (b"HELO", b"LHLO", False),
        (b"LHLO", b"EHLO", False),
        (b"LHLO", b"HELO", False),
        (b"EHLO", b"HELO", True),
        (b"HELO", b"EHLO", True),
        (b"LHLO", b"LHLO", True),
    ],
)
def test_a_session_is_smtp_or_lmtp(first: bytes, second: bytes, allowed: bool) -> None:
    dialog = told(first + b" a", b"MAIL FROM:<a@b>")
    answer = dialog.answer(second + b" b")
    assert answer.code == (250 if allowed else 503)
    assert dialog.state is (State.READY if allowed else State.MAIL)


@pytest.mark.parametrize(
    ("hello", "protocol", "answers"),
    [(b"HELO", Protocol.SMTP, 1), (b"EHLO", Protocol.ESMTP, 1), (b"LHLO", Protocol.LMTP, 2)],
)
def test_the_envelope_holds_what_was_said(hello: bytes, protocol: Protocol, answers: int) -> None:
    dialog = told(
        hello + b" Mx.example",
        b"XFORWARD NAME=c.example ADDR=192.0.2.1 HELO=hi",
        b"XFORWARD PORT=77 IDENT=Q1 SOURCE=LOCAL PROTO=SMTP",
        b"MAIL FROM:<A@b> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=Xy",
        b"RCPT TO:<C@d> NOTIFY=FAILURE ORCPT=rfc822;o@p",
        b"RCPT TO:<C@d>",
        b"DATA",
    )
    envelope = dialog.envelope()
    assert envelope.mail_from == "A@b"
    assert envelope.recipients == (Recipient("C@d", ("FAILURE",), "rfc822;o@p"), Recipient("C@d"))
    assert (envelope.body, envelope.smtputf8, envelope.ret, envelope.envid) == ("8BITMIME", True, "HDRS", "Xy")
    assert envelope.client == Client("c.example", "192.0.2.1", "77", "SMTP", "hi", "Q1", "LOCAL")
    assert envelope.peer == Peer("192.0.2.9", "Mx.example")
    assert envelope.protocol is protocol
    assert dialog.answers == answers


@pytest.mark.parametrize("forget", ["RSET", "EHLO again", "end"])
def test_a_transaction_is_forgotten_with_its_xforward(forget: str) -> None:
    dialog = told(b"EHLO a", b"XFORWARD NAME=old", b"MAIL FROM:<a@b> ENVID=old", b"RCPT TO:<c@d>")
    if forget == "end":
        dialog.end_transaction()
    else:
        assert dialog.answer(forget.encode()).positive
    for line in (b"MAIL FROM:<>", b"RCPT TO:<e@f>", b"DATA"):
        assert dialog.answer(line).positive
    envelope = dialog.envelope()
    assert (envelope.mail_from, envelope.recipients) == ("", (Recipient("e@f"),))
    assert (envelope.client, envelope.envid) == (Client(), None)


def test_the_null_sender_opens_a_transaction() -> None:
    dialog = told(b"EHLO a", b"MAIL FROM:<>")
    assert dialog.in_transaction
    assert dialog.answer(b"MAIL FROM:<>") is reply.NESTED_MAIL


def test_recipients_past_the_limit_are_put_off_and_the_others_stay() -> None:
    dialog = told(b"EHLO a", b"MAIL FROM:<>", *(b"RCPT TO:<%d@x>" % i for i in range(3)))
    assert dialog.answer(b"RCPT TO:<4@x>") is reply.TOO_MANY_RECIPIENTS
    assert dialog.answer(b"DATA") is reply.START_DATA
    assert len(dialog.envelope().recipients) == 3


def test_a_declared_size_over_the_limit_is_refused_at_once() -> None:
    dialog = told(b"EHLO a")
    assert dialog.answer(b"MAIL FROM:<a@b> SIZE=104857601") is reply.MESSAGE_TOO_LARGE
    assert dialog.state is State.READY
    assert dialog.answer(b"MAIL FROM:<a@b> SIZE=104857600") is reply.SENDER_OK


def test_no_envelope_without_a_transaction() -> None:
    with pytest.raises(ValueError, match="READY"):
        told(b"EHLO a").envelope()


LINES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [line for lines in LEADING_TO.values() for line in lines] + [line for line, _ in COMMANDS.values()]
    ),
)


@given(st.lists(LINES, max_size=12))
def test_any_lines_get_replies_with_enhanced_codes(lines: list[bytes]) -> None:
    dialog = Dialog(SETTINGS)
    for line in lines:
        answer = dialog.answer(line)
        assert 200 <= answer.code < 600
        assert answer.enhanced.startswith(f"{answer.code // 100}.") or answer.code == 354 or "filter." in answer.text
