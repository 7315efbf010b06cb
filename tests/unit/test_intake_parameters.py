"""Arguments of MAIL and RCPT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.envelope import Recipient
from contentfilter.errors import CommandError
from contentfilter.intake.parameters import Sender, parse_mail, parse_rcpt
from contentfilter.reply import Reply

SENDERS = [
    (b"FROM:<>", Sender("")),
    (b"from:<a@b>", Sender("a@b")),
    (b"FROM: <a@b>", Sender("a@b")),
    (b"FROM:<a@b>  SIZE=0", Sender("a@b")),
    (b"FROM:<a@b> SIZE=12345", Sender("a@b", size=12345)),
    (b"FROM:<a@b> size=1 body=8bitmime", Sender("a@b", size=1, body="8BITMIME")),
    (b"FROM:<a@b> BODY=7BIT SMTPUTF8", Sender("a@b", body="7BIT", smtputf8=True)),
    (b"FROM:<a@b> RET=hdrs ENVID=QQ+2Bx+3Dy", Sender("a@b", ret="HDRS", envid="QQ+2Bx+3Dy")),
    (b"FROM:<a@b> RET=FULL ENVID=aBc", Sender("a@b", ret="FULL", envid="aBc")),
    (b"FROM:<a@b> AUTH=<>", Sender("a@b")),
    (b"FROM:<a@b> AUTH=e+3Dmc2@example.com", Sender("a@b")),
    ("FROM:<jürgen@x> SMTPUTF8".encode(), Sender("jürgen@x", smtputf8=True)),
    ("FROM:<jürgen@x>".encode(), Sender("jürgen@x")),
    (b'FROM:<"> SIZE=9"@x> SIZE=1', Sender('"> SIZE=9"@x', size=1)),
]

RECIPIENTS = [
    (b"TO:<a@b>", Recipient("a@b")),
    (b"to: <Postmaster>", Recipient("Postmaster")),
    (b"TO:<a@b> NOTIFY=never", Recipient("a@b", ("NEVER",))),
    (b"TO:<a@b> NOTIFY=SUCCESS,failure,Delay", Recipient("a@b", ("SUCCESS", "FAILURE", "DELAY"))),
    (b"TO:<a@b> NOTIFY=DELAY,DELAY", Recipient("a@b", ("DELAY",))),
    (b"TO:<a@b> ORCPT=rfc822;Bob+2Bx@Example.org", Recipient("a@b", orcpt="rfc822;Bob+2Bx@Example.org")),
    (b"TO:<a@b> ORCPT=RFC822;x NOTIFY=DELAY", Recipient("a@b", ("DELAY",), "RFC822;x")),
    (b"TO:<a@b> ORCPT=utf-8;J\\x{FC}rgen@x", Recipient("a@b", orcpt="utf-8;J\\x{FC}rgen@x")),
    ("TO:<a@b> ORCPT=utf-8;jürgen@x".encode(), Recipient("a@b", orcpt="utf-8;jürgen@x")),
]

BAD_MAIL = [
    (b"", reply.SYNTAX_MAIL),
    (b"TO:<a@b>", reply.SYNTAX_MAIL),
    (b"FROM", reply.SYNTAX_MAIL),
    (b"FROM <a@b>", reply.SYNTAX_MAIL),
    (b"FROM:", reply.BAD_SENDER),
    (b"FROM:a@b", reply.BAD_SENDER),
    (b"FROM:<a@b>SIZE=1", reply.BAD_SENDER),
    (b"FROM:<\xff@b>", reply.BAD_SENDER),
    (b"FROM:<a\x1b@b>", reply.BAD_SENDER),
    (b"FROM:<a@b> SIZE=1 SIZE=1", reply.REPEATED_PARAMETER),
    (b"FROM:<a@b> RET=FULL ret=HDRS", reply.REPEATED_PARAMETER),
    (b"FROM:<a@b> SMTPUTF8 SMTPUTF8", reply.REPEATED_PARAMETER),
    (b"FROM:<a@b> FOO=1", reply.UNKNOWN_PARAMETER),
    (b"FROM:<a@b> FOO", reply.UNKNOWN_PARAMETER),
    (b"FROM:<a@b> NOTIFY=NEVER", reply.UNKNOWN_PARAMETER),
    (b"FROM:<a@b> SIZE", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SIZE=", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SIZE=-1", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SIZE=1e3", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SIZE=123456789012345678901", reply.BAD_PARAMETER),
    ("FROM:<a@b> SIZE=\u0661".encode(), reply.BAD_PARAMETER),
    (b"FROM:<a@b> BODY=BINARYMIME", reply.BAD_PARAMETER),
    (b"FROM:<a@b> RET=NONE", reply.BAD_PARAMETER),
    (b"FROM:<a@b> ENVID=a+GG", reply.BAD_PARAMETER),
    (b"FROM:<a@b> ENVID=a=b", reply.BAD_PARAMETER),
    (b"FROM:<a@b> ENVID=+2", reply.BAD_PARAMETER),
    (b"FROM:<a@b> AUTH=+", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SMTPUTF8=1", reply.BAD_PARAMETER),
    (b"FROM:<a@b> =1", reply.BAD_PARAMETER),
    (b"FROM:<a@b> SIZE=1\t", reply.BAD_PARAMETER),
]

BAD_RCPT = [
    (b"", reply.SYNTAX_RCPT),
    (b"FROM:<a@b>", reply.SYNTAX_RCPT),
    (b"TO:<>", reply.BAD_RECIPIENT),
    (b"TO:<\xc3\x28@b>", reply.BAD_RECIPIENT),
    (b"TO:<a@b> NOTIFY=NEVER,DELAY", reply.BAD_PARAMETER),
    (b"TO:<a@b> NOTIFY=SOMETIMES", reply.BAD_PARAMETER),
    (b"TO:<a@b> NOTIFY=,", reply.BAD_PARAMETER),
    (b"TO:<a@b> NOTIFY", reply.BAD_PARAMETER),
    (b"TO:<a@b> ORCPT=bob@example.org", reply.BAD_PARAMETER),
    (b"TO:<a@b> ORCPT=rfc822;a+zz", reply.BAD_PARAMETER),
    (b"TO:<a@b> ORCPT=;a", reply.BAD_PARAMETER),
    ("TO:<a@b> ORCPT=rfc822;ü".encode(), reply.BAD_PARAMETER),
    (b"TO:<a@b> ORCPT=rfc822;a ORCPT=rfc822;a", reply.REPEATED_PARAMETER),
    (b"TO:<a@b> SIZE=1", reply.UNKNOWN_PARAMETER),
]


@pytest.mark.parametrize(("argument", "want"), SENDERS)
def test_mail(argument: bytes, want: Sender) -> None:
    assert parse_mail(argument) == want


@pytest.mark.parametrize(("argument", "want"), RECIPIENTS)
def test_rcpt(argument: bytes, want: Recipient) -> None:
    assert parse_rcpt(argument) == want


@pytest.mark.parametrize(("argument", "want"), BAD_MAIL)
def test_bad_mail(argument: bytes, want: Reply) -> None:
    with pytest.raises(CommandError) as caught:
        parse_mail(argument)
    assert caught.value.reply is want


@pytest.mark.parametrize(("argument", "want"), BAD_RCPT)
def test_bad_rcpt(argument: bytes, want: Reply) -> None:
    with pytest.raises(CommandError) as caught:
        parse_rcpt(argument)
    assert caught.value.reply is want


@given(st.sampled_from([b"FROM:<a@b> ", b"FROM:<", b"FROM:"]), st.binary(max_size=80))
def test_any_bytes_are_a_sender_or_refused(prefix: bytes, noise: bytes) -> None:
    try:
        sender = parse_mail(prefix + noise)
    except CommandError as error:
        answer = error.reply
    else:
        assert sender.size >= 0
        assert sender.body in {None, "7BIT", "8BITMIME"}
        assert sender.ret in {None, "FULL", "HDRS"}
        return
    assert answer.code in {501, 555}
    assert answer.enhanced


@given(st.sampled_from([b"TO:<a@b> ", b"TO:<", b"TO:<a@b> ORCPT=", b"TO:<a@b> NOTIFY="]), st.binary(max_size=80))
def test_any_bytes_are_a_recipient_or_refused(prefix: bytes, noise: bytes) -> None:
    try:
        recipient = parse_rcpt(prefix + noise)
    except CommandError as error:
        answer = error.reply
    else:
        assert recipient.address
        assert {"NEVER", "SUCCESS", "FAILURE", "DELAY"}.issuperset(recipient.notify)
        return
    assert answer.code in {501, 555}
    assert answer.enhanced
