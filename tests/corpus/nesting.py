"""Parts within parts, messages within messages, and types that say something else."""

from __future__ import annotations

from tests.corpus.building import (
    CRLF,
    EICAR,
    PROGRAM,
    Family,
    attached,
    b64,
    delimited,
    entity,
    letter,
    mixed,
    multipart,
    qp,
    text,
)
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT, UNCHECKED, VIRUS

_family = Family("nesting")
_add = _family.add

_INNER = mixed(text(), attached(), subject=b"inside")
_RFC822 = b"Content-Type: message/rfc822"
_BASE64 = b"Content-Transfer-Encoding: base64"


def _deep(levels: int) -> bytes:
    part = attached()
    for level in range(levels):
        part = multipart(text(), part, boundary=b"level%d" % level)
    return mixed(part)


def _forwarded(times: int) -> bytes:
    message = _INNER
    for level in range(times):
        message = mixed(text(), entity(message, _RFC822), boundary=b"hop%d" % level)
    return message


_add("forwarded", "an attached message", STANDARD, mixed(text(), entity(_INNER, _RFC822)))
_add(
    "forwarded-base64",
    "an attached message in base64, which RFC 2046 forbids",
    "Outlook and Gmail show it",
    mixed(text(), entity(b64(_INNER), _RFC822, _BASE64)),
)
_add(
    "forwarded-qp",
    "an attached message in quoted-printable",
    TOLERANT,
    mixed(text(), entity(qp(_INNER), _RFC822, b"Content-Transfer-Encoding: quoted-printable")),
)
_add(
    "forwarded-base64-not-encoded",
    "an attached message that says base64 and is not",
    TOLERANT,
    mixed(text(), entity(_INNER, _RFC822, _BASE64)),
)
_add(
    "global",
    "message/global (RFC 6532) in base64",
    STANDARD,
    mixed(text(), entity(b64(_INNER), b"Content-Type: message/global", _BASE64)),
)
_add(
    "eml-octet-stream",
    "an attached message that calls itself octet-stream",
    "Outlook, Thunderbird and Apple Mail open .eml",
    mixed(text(), entity(b64(_INNER), b'Content-Type: application/octet-stream; name="fwd.eml"', _BASE64)),
)
_add(
    "eml-text",
    "an attached message that calls itself text",
    "Outlook, Thunderbird and Apple Mail open .eml",
    mixed(text(), entity(_INNER, b'Content-Type: text/plain; name="fwd.eml"', b"Content-Disposition: attachment")),
)
_add(
    "digest", "a digest, whose parts are messages without saying so", STANDARD, mixed(entity(_INNER), subtype=b"digest")
)
_add(
    "digest-headerless",
    "a digest part that begins with a blank line",
    STANDARD,
    mixed(CRLF + _INNER, subtype=b"digest"),
)
_add("ten-multiparts", "ten multiparts within each other", STANDARD, _deep(10))
_add("five-forwards", "a message forwarded five times", STANDARD, _forwarded(5))
_add("fifty-multiparts", "fifty multiparts within each other: deeper than the limit", STANDARD, _deep(50), UNCHECKED)
_add(
    "leaf-type-text",
    "a multipart's body under a type of text",
    TOLERANT,
    letter(b"Content-Type: text/plain; boundary=frontier\r\n", delimited([text(), attached()])),
)
_add(
    "leaf-type-html",
    "a multipart's body under text/html",
    TOLERANT,
    letter(b"Content-Type: text/html; boundary=frontier\r\n", delimited([text(), attached()])),
)
_add(
    "leaf-type-octets",
    "a multipart's body in a part of octet-stream",
    NOT_VERIFIED,
    mixed(text(), entity(delimited([attached()], b"inner"), b"Content-Type: application/octet-stream; boundary=inner")),
)
_add(
    "no-type-multipart-body",
    "a multipart's body, and no type at all",
    NOT_VERIFIED,
    letter(b"", delimited([text(), attached()])),
)
_add(
    "partial",
    "a message in pieces, of which this is one",
    "Outlook Express put them together (RFC 2046 section 5.2.2)",
    letter(b'Content-Type: message/partial; id="a@b"; number=2; total=3\r\n', b64(PROGRAM)[:100]),
    UNCHECKED,
)
_add(
    "partial-in-part",
    "message/partial as an attachment",
    "Outlook Express put them together (RFC 2046 section 5.2.2)",
    mixed(text(), entity(b"Subject: x\r\n\r\nhalf", b'Content-Type: message/partial; id="a@b"; number=1; total=2')),
    UNCHECKED,
)
_add(
    "external-body",
    "the content lies elsewhere",
    "Pine and other clients of RFC 2046 section 5.2.3",
    mixed(
        text(),
        entity(
            b"Content-Type: application/octet-stream\r\n\r\n",
            b'Content-Type: message/external-body; access-type=URL; URL="http://example.net/run"',
        ),
    ),
    UNCHECKED,
)
_add(
    "delivery-status",
    "a program in a delivery report's second part",
    NOT_VERIFIED,
    mixed(text(), entity(b64(PROGRAM), b"Content-Type: message/delivery-status", _BASE64), subtype=b"report"),
)
_add(
    "rfc822-headers",
    "a program under text/rfc822-headers",
    NOT_VERIFIED,
    mixed(text(), entity(b64(PROGRAM), b"Content-Type: text/rfc822-headers", _BASE64)),
)
for _subtype in (
    "alternative",
    "related",
    "signed",
    "appledouble",
    "parallel",
    "x-mixed-replace",
    "report",
    "encrypted",
):
    _add(
        f"in-{_subtype}",
        f"a program as a part of multipart/{_subtype}",
        STANDARD,
        mixed(text(), attached(), subtype=_subtype.encode()),
    )
_add(
    "virus-in-forward",
    "a virus in a message in a message",
    STANDARD,
    mixed(
        text(),
        entity(mixed(text(), entity(mixed(attached(EICAR, b"a.txt"), boundary=b"c"), _RFC822), boundary=b"d"), _RFC822),
    ),
    VIRUS,
)
_add(
    "message-other",
    "an attached message under message/x-odd",
    NOT_VERIFIED,
    mixed(text(), entity(_INNER, b"Content-Type: message/x-odd")),
)
_add(
    "news",
    "an attached message under message/news",
    NOT_VERIFIED,
    mixed(text(), entity(_INNER, b"Content-Type: message/news")),
)

CASES = tuple(_family.cases)
