"""Signed, encrypted, forwarded, reported, listed: MIME as programs use it."""

from __future__ import annotations

from tests.corpus.building import CRLF, TEXT, attached, b64, delimited, entity, letter, mixed, multipart, text
from tests.corpus.case import Innocent
from tests.corpus.innocent.collecting import Collection

_all = Collection()
_add = _all.add

_PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\0\1\0\0\5\0\1"
    b"\r\n-\xb4\0\0\0\0IEND\xaeB`\x82"
)
_HTML = entity(b'<p>Hello <img src="cid:logo"></p>\r\n', b"Content-Type: text/html; charset=utf-8")
_IMAGE = entity(
    b64(_PNG),
    b'Content-Type: image/png; name="logo.png"',
    b"Content-Transfer-Encoding: base64",
    b"Content-ID: <logo>",
    b'Content-Disposition: inline; filename="logo.png"',
)
_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\r\n\r\n" + b64(bytes(range(120))) + b"\r\n-----END PGP SIGNATURE-----\r\n"
_DER = b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + bytes(range(200))


def _parameterised(subtype: bytes, parameters: bytes, *parts: bytes) -> bytes:
    field = b"Content-Type: multipart/" + subtype + b'; boundary="frontier"' + parameters + CRLF
    return letter(field, delimited(parts))


def _forwarded(levels: int) -> bytes:
    message = letter(b"Content-Type: text/plain\r\n", b"the original\r\n")
    for level in range(levels):
        message = mixed(text(), entity(message, b"Content-Type: message/rfc822"), boundary=b"fwd%d" % level)
    return message


_add("alternative", "text and HTML", mixed(text(), _HTML, subtype=b"alternative"))
_add("related", "HTML with an image in it", _parameterised(b"related", b'; type="text/html"', _HTML, _IMAGE))
_add(
    "newsletter",
    "text beside HTML with images, and a further image",
    mixed(
        multipart(
            text(),
            multipart(_HTML, _IMAGE, _IMAGE, boundary=b"rel", subtype=b"related"),
            boundary=b"alt",
            subtype=b"alternative",
        ),
        _IMAGE,
    ),
)
_add(
    "preamble",
    "the usual words for programs without MIME",
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\n",
        b"This is a multi-part message in MIME format.\r\n\r\n" + delimited([text(), _IMAGE]),
    ),
)
_add(
    "epilogue",
    "a list's footer behind the last delimiter",
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\n",
        delimited([text()]) + b"\r\n_______\r\nlist mailing list\r\nhttp://lists.example.net\r\n",
    ),
)
_add(
    "list-footer",
    "a list's footer as a part",
    mixed(
        text(), entity(b"____\r\nlist mailing list\r\n", b"Content-Type: text/plain", b"Content-Disposition: inline")
    ),
)
_add(
    "list-fields",
    "the fields of a mailing list",
    letter(
        b"List-Id: <l.example.net>\r\nList-Unsubscribe: <mailto:l-leave@example.net>\r\nPrecedence: list\r\nContent-Type: text/plain\r\n",
        b"hello all\r\n",
    ),
)
_add(
    "digest",
    "a digest of two messages",
    mixed(entity(b"Subject: one\r\n\r\nfirst\r\n"), entity(b"Subject: two\r\n\r\nsecond\r\n"), subtype=b"digest"),
)
_add(
    "forwarded",
    "an attached message",
    mixed(text(), entity(letter(b"Content-Type: text/plain\r\n", b"hi\r\n"), b"Content-Type: message/rfc822")),
)
_add("forwarded-five", "forwarded five times", _forwarded(5))
_add(
    "forwarded-eml",
    "an attached message with a name",
    mixed(
        text(),
        entity(
            letter(b"", b"hi\r\n"),
            b'Content-Type: message/rfc822; name="Re: plans.eml"',
            b'Content-Disposition: attachment; filename="Re: plans.eml"',
        ),
    ),
)
_add(
    "pgp-signed",
    "PGP/MIME, signed",
    _parameterised(
        b"signed",
        b'; micalg=pgp-sha256; protocol="application/pgp-signature"',
        text(),
        entity(_SIGNATURE, b'Content-Type: application/pgp-signature; name="signature.asc"'),
    ),
)
_add(
    "pgp-encrypted",
    "PGP/MIME, encrypted",
    _parameterised(
        b"encrypted",
        b'; protocol="application/pgp-encrypted"',
        entity(b"Version: 1\r\n", b"Content-Type: application/pgp-encrypted"),
        entity(
            b"-----BEGIN PGP MESSAGE-----\r\n\r\n"
            + b64(b"\x85" + bytes(range(255)))
            + b"\r\n-----END PGP MESSAGE-----\r\n",
            b'Content-Type: application/octet-stream; name="encrypted.asc"',
        ),
    ),
)
_add(
    "smime-signed",
    "S/MIME, signed beside the text",
    _parameterised(
        b"signed",
        b'; protocol="application/pkcs7-signature"; micalg=sha-256',
        text(),
        attached(_DER, b"smime.p7s", b"application/pkcs7-signature"),
    ),
)
_add(
    "smime-opaque",
    "S/MIME, text and signature in one",
    letter(
        b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n'
        b'Content-Disposition: attachment; filename="smime.p7m"\r\n',
        b64(_DER),
    ),
)
_add(
    "smime-encrypted",
    "S/MIME, encrypted",
    letter(
        b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\nContent-Transfer-Encoding: base64\r\n',
        b64(_DER.replace(b"\x07\x02", b"\x07\x03")),
    ),
)
_add(
    "calendar",
    "an invitation",
    mixed(
        text(),
        _HTML,
        entity(
            b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20260302T100000Z\r\nSUMMARY:Lunch\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            b"Content-Type: text/calendar; charset=utf-8; method=REQUEST",
        ),
        subtype=b"alternative",
    ),
)
_add(
    "dsn",
    "a delivery report",
    _parameterised(
        b"report",
        b"; report-type=delivery-status",
        text(),
        entity(
            b"Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; x@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            b"Content-Type: message/delivery-status",
        ),
        entity(letter(b"", b"what was sent\r\n"), b"Content-Type: message/rfc822"),
    ),
)
_add(
    "dsn-headers",
    "a delivery report with the header only",
    _parameterised(
        b"report",
        b"; report-type=delivery-status",
        text(),
        entity(
            b"Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; x@example.net\r\nAction: delayed\r\nStatus: 4.4.1\r\n",
            b"Content-Type: message/delivery-status",
        ),
        entity(b"From: bob@example.org\r\nSubject: hi\r\n", b"Content-Type: text/rfc822-headers"),
    ),
)
_add(
    "mdn",
    "a read receipt",
    _parameterised(
        b"report",
        b"; report-type=disposition-notification",
        text(),
        entity(
            b"Final-Recipient: rfc822; bob@example.org\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n",
            b"Content-Type: message/disposition-notification",
        ),
    ),
)
_add(
    "arf",
    "an abuse report",
    _parameterised(
        b"report",
        b"; report-type=feedback-report",
        text(),
        entity(b"Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n", b"Content-Type: message/feedback-report"),
        entity(letter(b"", b"spam?\r\n"), b"Content-Type: message/rfc822"),
    ),
)
_add("empty-part", "a part of nothing", mixed(text(), entity(b"", b"Content-Type: text/plain")))
_add("empty-attachment", "an attached file of no bytes", mixed(text(), attached(b"", b"empty.txt", b"text/plain")))
_add("headerless-part", "a part without a header", mixed(entity(TEXT), text()))
_add("one-part", "a multipart of one part", mixed(text()))
_add(
    "apple-double",
    "a file from a Mac, in two forks",
    mixed(
        text(),
        multipart(
            entity(
                b64(b"\0\5\x16\7\0\2\0\0" + bytes(60)),
                b'Content-Type: application/applefile; name="a.png"',
                b"Content-Transfer-Encoding: base64",
            ),
            _IMAGE,
            boundary=b"double",
            subtype=b"appledouble",
        ),
    ),
)
_add(
    "voice",
    "a fax as multipart/voice-message",
    mixed(text(), attached(b"II*\0" + bytes(90), b"fax.tif", b"image/tiff"), subtype=b"voice-message"),
)
_add(
    "boundary-equals",
    "a boundary of equals signs, as Outlook makes them",
    mixed(text(), boundary=b"----=_NextPart_000_0001_01D0=.A"),
)
_add(
    "boundary-dots",
    "a boundary like a Message-ID, as Apple Mail makes them",
    mixed(text(), boundary=b"Apple-Mail=_1-2.3+4?5"),
)
_add(
    "delimiter-blanks",
    "blanks behind delimiters",
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\n",
        delimited([text()]).replace(b"--frontier\r\n", b"--frontier \r\n"),
    ),
)
_add(
    "charset-quoted",
    "a quoted charset with blanks around",
    letter(b'Content-Type: text/plain ; charset="utf-8" ; format=flowed\r\n', b"hello\r\n"),
)
_add(
    "encoding-capitals",
    "capitals in the encoding",
    letter(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: QUOTED-PRINTABLE\r\n", b"a=3Db\r\n"),
)
_add(
    "amp",
    "HTML for mail that moves (AMP)",
    mixed(
        text(),
        entity(b"<!doctype html><html amp4email></html>\r\n", b"Content-Type: text/x-amp-html"),
        _HTML,
        subtype=b"alternative",
    ),
)
_add("long-boundary-70", "a boundary of 70 characters, the most allowed", mixed(text(), boundary=b"a" * 70))
_add(
    "five-levels",
    "five multiparts within each other",
    mixed(
        text(),
        multipart(
            multipart(multipart(multipart(text(), boundary=b"l4"), boundary=b"l3"), boundary=b"l2"), boundary=b"l1"
        ),
    ),
)

INNOCENT: tuple[Innocent, ...] = _all.innocent()
