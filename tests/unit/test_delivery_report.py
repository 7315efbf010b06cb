"""The delivery report, read back by the standard library: who is named, what goes back, and what can never get in."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import SMTP
from email.utils import parsedate_to_datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.delivery_report import RETURN_LIMIT, Refusal, failure_report
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.message import Message
from contentfilter.reply import Reply

ORIGINAL = b"Subject: Offer\r\nMessage-ID: <1@example.com>\r\n\r\nThe secret body\r\n"
ENVELOPE = Envelope(
    "anna@example.com",
    (),
    ret="FULL",
    envid="QQ+2B314",
    client=Client(name="mx.example.com", addr="192.0.2.1"),
    received_at=1_700_000_000.0,
)
BOB = Recipient("bob@example.org", ("FAILURE",), "rfc822;Bob+2Bx@example.org")
CAROL = Recipient("carol@example.org")
REFUSED: list[Refusal] = [(BOB, reply.REJECTED_BANNED), (CAROL, Reply(550, "", "no\nsuch user"))]


def report(
    envelope: Envelope = ENVELOPE,
    refused: list[Refusal] = REFUSED,
    original: bytes = ORIGINAL,
    *,
    with_body: bool = True,
    subject: str = "Offer",
) -> bytes:
    return failure_report(
        envelope,
        refused,
        Message(original),
        hostname="filter.example.net",
        mail_id="8Zq1",
        with_body=with_body,
        subject=subject,
    )


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=SMTP)
    assert not message.defects
    for part in message.iter_parts():
        assert not part.defects, part.get_content_type()
    return message


def parts(raw: bytes) -> list[EmailMessage]:
    return [cast(EmailMessage, part) for part in parsed(raw).iter_parts()]


def part_bodies(raw: bytes) -> list[bytes]:
    """The parts as they stand in the report: the standard library would take nested messages apart."""
    boundary = cast(str, parsed(raw).get_boundary()).encode()
    _, *entities, end = raw.split(b"--" + boundary)
    assert end == b"--\r\n"
    return [entity.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")[2] for entity in entities]


def status_groups(raw: bytes) -> list[dict[str, str]]:
    """The groups of fields of the second part, unfolded."""
    text = part_bodies(raw)[1].decode()
    blocks = [block for block in text.replace("\r\n    ", " ").split("\r\n\r\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\r\n") if line) for block in blocks]


def test_header_of_the_report() -> None:
    message = parsed(report())
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@filter.example.net>"
    assert [one.addr_spec for one in cast(AddressHeader, message["To"]).addresses] == ["anna@example.com"]
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message["Message-ID"].endswith("@filter.example.net>")
    assert parsedate_to_datetime(message["Date"]).tzinfo is not None
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]


def test_status_names_exactly_the_refused() -> None:
    message_fields, bob, carol = status_groups(report())
    assert message_fields == {
        "Original-Envelope-Id": "QQ+314",
        "Reporting-MTA": "dns; filter.example.net",
        "Received-From-MTA": "dns; mx.example.com",
        "Arrival-Date": message_fields["Arrival-Date"],
    }
    assert parsedate_to_datetime(message_fields["Arrival-Date"]).timestamp() == 1_700_000_000
    assert bob == {
        "Original-Recipient": "rfc822; Bob+x@example.org",
        "Final-Recipient": "rfc822; bob@example.org",
        "Action": "failed",
        "Status": "5.7.0",
        "Diagnostic-Code": f"smtp; {reply.REJECTED_BANNED}",
    }
    assert carol == {
        "Final-Recipient": "rfc822; carol@example.org",
        "Action": "failed",
        "Status": "5.0.0",
        "Diagnostic-Code": "smtp; 550 no such user",
    }


def test_what_is_not_known_is_not_claimed() -> None:
    fields = status_groups(report(Envelope("anna@example.com", ())))[0]
    assert fields.keys() == {"Reporting-MTA", "Arrival-Date"}


def test_people_can_read_it() -> None:
    text = parts(report())[0].get_content()
    for words in ("bob@example.org", "carol@example.org", "Subject:  Offer", "8Zq1", "postmaster@filter.example.net"):
        assert words in text
    assert "2 addresses" in text
    assert "attachment of a kind" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 78


NOTIFY = {(): True, ("FAILURE",): True, ("SUCCESS", "FAILURE"): True, ("NEVER",): False, ("SUCCESS", "DELAY"): False}


@pytest.mark.parametrize("notify", NOTIFY)
def test_notify_is_respected(notify: tuple[str, ...]) -> None:
    other = Recipient("other@example.org", notify)
    raw = report(refused=[(BOB, reply.REJECTED), (other, reply.REJECTED)])
    assert (b"other@example.org" in raw) is NOTIFY[notify]


@pytest.mark.parametrize(
    ("envelope", "refused"),
    [
        (replace(ENVELOPE, mail_from=""), REFUSED),
        (ENVELOPE, []),
        (ENVELOPE, [(Recipient("a@example.org", ("NEVER",)), reply.REJECTED)]),
    ],
)
def test_nobody_to_tell(envelope: Envelope, refused: list[Refusal]) -> None:
    with pytest.raises(ValueError, match="nobody"):
        report(envelope, refused)


@pytest.mark.parametrize(
    ("ret", "with_body", "size", "whole"),
    [
        ("FULL", True, 10, True),
        ("FULL", False, 10, False),
        ("HDRS", True, 10, False),
        (None, True, 10, False),
        ("FULL", True, RETURN_LIMIT, False),
    ],
)
def test_body_goes_back_only_if_asked_for_harmless_and_small(
    ret: str | None, with_body: bool, size: int, whole: bool
) -> None:
    original = ORIGINAL + b"x" * size
    raw = report(replace(ENVELOPE, ret=ret), original=original, with_body=with_body)
    header, _, _ = original.partition(b"\r\n\r\n")
    assert part_bodies(raw)[2] == (original if whole else header + b"\r\n")
    assert parts(raw)[2].get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert (b"secret" in raw) is whole
    attached = " ".join(parts(raw)[0].get_content().split()).rpartition(" and ")[2]
    assert attached == ("your message are attached." if whole else "the header of your message are attached.")


def test_endless_header_is_cut_at_a_line() -> None:
    original = b"X-Many: 0123456789\r\n" * 10_000
    copy = part_bodies(report(original=original, with_body=False))[2]
    assert len(copy) <= RETURN_LIMIT
    assert len(copy) > RETURN_LIMIT - 100
    assert copy.endswith(b"0123456789\r\n")
    one_line = part_bodies(report(original=b"X: " + b"y" * 200_000, with_body=False))[2]
    assert len(one_line) <= RETURN_LIMIT


def test_original_with_8_bit_bare_cr_and_nul_goes_back_as_it_is() -> None:
    original = b"Subject: gr\xfc\xdf\r\nX: a\rb\0c\r\n\r\n.\r\n\xff\r\n"
    raw = report(original=original)
    assert parsed(raw)["Content-Transfer-Encoding"] == "8bit"
    assert parts(raw)[2]["Content-Transfer-Encoding"] == "8bit"
    assert part_bodies(raw)[2] == original


def test_all_ascii_says_so() -> None:
    raw = report()
    assert raw.isascii()
    assert parsed(raw)["Content-Transfer-Encoding"] == "7bit"


def test_addresses_beyond_ascii_take_the_international_forms() -> None:
    sender = replace(ENVELOPE, mail_from="änne@exämple.com", smtputf8=True)
    recipient = Recipient("jörg@exämple.org", orcpt="utf-8;j+C3+B6rg@exämple.org")
    raw = report(sender, [(recipient, reply.REJECTED)], "Subject: grüß\r\n\r\nbody\r\n".encode(), subject="grüß")
    message = parsed(raw)
    assert message.get_param("report-type") == "global-delivery-status"
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/global-delivery-status",
        "message/global",
    ]
    assert "To: <änne@exämple.com>\r\n" in raw.decode()
    _, fields = status_groups(raw)
    assert fields["Final-Recipient"] == "utf-8; jörg@exämple.org"
    assert fields["Original-Recipient"] == "utf-8; jörg@exämple.org"
    assert "grüß" in parts(raw)[0].get_content()
    headers_only = report(replace(sender, ret="HDRS"), REFUSED, "Subject: grüß\r\n\r\nbody\r\n".encode())
    assert parts(headers_only)[2].get_content_type() == "message/global-headers"


HOSTILE = st.text(
    st.sampled_from('\r\n\t\0\x0b\x0c\x1b\x85\u2028\u202e\udcff:;<>()"\\ -=.{}aö'), min_size=1, max_size=40
)


@given(
    sender=HOSTILE,
    address=HOSTILE,
    orcpt=HOSTILE,
    envid=HOSTILE,
    text=HOSTILE,
    name=st.none() | HOSTILE,
    subject=HOSTILE,
)
def test_nothing_from_outside_adds_a_field_or_a_part(
    sender: str, address: str, orcpt: str, envid: str, text: str, name: str | None, subject: str
) -> None:
    envelope = Envelope(sender, (), ret="FULL", envid=envid, client=Client(helo=name, addr=address))
    refused = [(Recipient(address, orcpt=orcpt), Reply(554, "5.7.0", text)), (CAROL, reply.REJECTED)]
    raw = report(envelope, refused, subject=subject)
    header = raw.partition(b"\r\n\r\n")[0]
    names = [line.split(b":")[0] for line in header.split(b"\r\n") if not line.startswith(b" ")]
    assert names == [
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version", b"Content-Type",
        b"Content-Transfer-Encoding",
    ]  # fmt: skip
    assert BytesHeaderParser(policy=SMTP).parsebytes(raw).get_content_type() == "multipart/report"
    assert len(part_bodies(raw)) == 3
    groups = status_groups(raw)
    assert len(groups) == 3
    allowed = {"Original-Recipient", "Final-Recipient", "Action", "Status", "Diagnostic-Code"}
    assert all(group.keys() <= allowed for group in groups[1:])
    assert groups[2]["Final-Recipient"] == "rfc822; carol@example.org"
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")
