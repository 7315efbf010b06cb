"""Each ambiguity: that it is noticed, that the other reading finds what is hidden, and that the docs know of it."""

from __future__ import annotations

import ast
import base64
import binascii
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import mime
from contentfilter.mime import Limits, Tree, embedded, parse, quoted_printable

ROOT = Path(__file__).parents[2]
DOCUMENTED = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "ambiguities.md").read_text("utf-8"), re.MULTILINE)
NOT_AMBIGUITIES = {
    *("7-bit", "8-bit", "quoted-printable", "x-uu", "x-uue", "x-uuencode", "utf-7", "utf-8"),
    *("content-type", "content-disposition", "content-transfer-encoding", "mime-version"),
}

V = b"MIME-Version: 1.0\n"
EXE = b"MZ\x90\0 this is hidden"
IN_BASE64 = base64.b64encode(EXE)
HIDDEN = b'Content-Type: application/octet-stream; name="a.exe"\nContent-Transfer-Encoding: base64\n\n' + IN_BASE64
PARTS = b"--b\n" + HIDDEN + b"\n--b--\n"
LINES = base64.encodebytes(EXE + bytes(range(256)))
UU = b"begin 644 a.exe\n" + binascii.b2a_uu(EXE) + b"`\nend\n"
MIXED = b"Content-Type: multipart/mixed; "
YENC = bytes((byte + 42) % 256 for byte in EXE)


def binhex(content: bytes) -> bytes:
    digits = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    data = b"\5a.exe\0TEXTttxt\0\0" + len(content).to_bytes(4, "big") + bytes(6) + content + bytes(2)
    data += bytes(-len(data) % 3)
    encoded = base64.b64encode(data.replace(b"\x90", b"\x90\0").ljust(-(-len(data) // 3) * 3, b"\0"))
    in_base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return b"(This file must be converted with BinHex 4.0)\n\n:" + encoded.translate(
        bytes.maketrans(in_base64, digits), b"="
    )


CASES: list[tuple[str, bytes]] = [
    ("bare-cr", V + b"Subject: a\rContent-Type: multipart/mixed; boundary=b\n\n" + PARTS),
    ("bare-cr", V + MIXED + b"boundary=b\n\n" + PARTS.replace(b"\n", b"\r")),
    ("bare-cr", V + b"Subject: a\r\r" + UU),
    ("blank-line-in-header", V + b"Subject: a\n \t\n" + HIDDEN.replace(b"\n\n", b"\nX: y\n\n") + b"\n" + UU),
    ("control-character", V + b"Content-Ty\x01pe: multi\x02part/mixed; boundary=b\n\n" + PARTS),
    ("delimiter-in-header", V + MIXED + b'boundary="b:c"\n--b:c\n' + HIDDEN + b"\n--b:c--\n"),
    ("header-defect", V + MIXED + b"boundary=b\n" + PARTS),
    ("missing-mime-version", b"Content-Type: image/png\n\n" + UU),
    ("nul-in-field", V + MIXED + b"boundary=b\0c\n\n" + PARTS),
    ("odd-mime-version", b"MIME-Version: 2.0\nContent-Type: image/png\n\n" + UU),
    ("odd-mime-version", b"MIME-Version: 1.0\nMIME-Version: 0\nContent-Type: image/png\n\n" + UU),
    (
        "repeated-content-disposition",
        V + b"Content-Disposition: inline\nContent-Disposition: attachment; filename=a.exe\n" + HIDDEN,
    ),
    ("repeated-mime-version", b"MIME-Version: 1.0\nMIME-Version: 2.0\n" + HIDDEN),
    (
        "repeated-content-transfer-encoding",
        V + b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n" + IN_BASE64,
    ),
    ("repeated-content-type", V + b"Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n" + PARTS),
    ("unindented-continuation", V + b"Content-Type: multipart/mixed;\nboundary=b\nX: y\n\n" + PARTS),
    ("blank-in-boundary", V + MIXED + b'boundary=" b"\n\n' + PARTS),
    ("blank-in-boundary", V + MIXED + b"boundary=b c\n\n--b c\n" + HIDDEN + b"\n--b c--\n"),
    ("boundary-prefix", V + MIXED + b"boundary=b\n\n--b\n\nx\n--bogus\n" + HIDDEN + b"\n--b--\n"),
    ("boundary-prefix", V + MIXED + b"boundary=b\n\n--bogus\n" + HIDDEN + b"\n--b--bogus\n"),
    ("commented-boundary", V + MIXED + b"boundary=(x)c (; boundary=b)\n\n" + PARTS),
    ("empty-boundary", V + MIXED + b'boundary=""\n\n--\n\nx\n--b\n' + HIDDEN + b"\n--b--\n----\n"),
    ("encoded-boundary", V + MIXED + b'boundary="=?utf-8?q?b?="\n\n' + PARTS),
    ("encoded-content-type", V + b"Content-Type: =?utf-8?q?multipart/mixed;_boundary=3Db?=\n\n" + PARTS),
    ("escaped-boundary", V + MIXED + b'boundary="a\\b"\n\n--a\\b\n' + HIDDEN + b"\n--a\\b--\n"),
    ("extended-boundary", V + MIXED + b'boundary=c; boundary*0=""; boundary*1*=%62\n\n' + PARTS),
    ("extended-boundary", V + MIXED + b"boundary=c; boundary*=us-ascii''%62\n\n" + PARTS),
    ("folded-boundary", V + MIXED + b'boundary="b\n c"\n\n--bc\n' + HIDDEN + b"\n--bc--\n"),
    ("leaf-type-on-multipart", V + b"Content-Type: text/plain; boundary=b\n\n" + PARTS),
    ("malformed-content-type", V + b"Content-Type: multipart; boundary=b\n\n" + PARTS),
    ("malformed-content-type", V + b"Content-Type: multipart/mixed boundary=b\n\n" + PARTS),
    ("quoted-boundary", V + MIXED + b"boundary='b'\n\n" + PARTS),
    ("quoted-boundary", V + MIXED + b'boundary=b"c"\n\n--bc\n' + HIDDEN + b"\n--bc--\n"),
    ("repeated-boundary", V + MIXED + b"boundary=c; boundary=b\n\n--c\n\nx\n--c--\n" + PARTS),
    ("undeclared-boundary", V + b"Content-Type: multipart/mixed\n\n" + PARTS),
    ("undeclared-boundary", V + MIXED + b"boundary=c\n\n--decoy\n" + PARTS),
    (
        "encoded-message",
        V + b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(HIDDEN),
    ),
    (
        "encoded-message",
        V + b"Content-Type: message/global\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(HIDDEN),
    ),
    (
        "encoded-multipart",
        V + MIXED + b"boundary=b\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(PARTS),
    ),
    ("missing-closing-delimiter", V + MIXED + b"boundary=b\n\n--b\n" + HIDDEN),
    ("no-delimiter", V + MIXED + b"boundary=b\n\nbegin 644 a\n" + UU),
    ("part-after-closing-delimiter", V + MIXED + b"boundary=b\n\n--b\n\nx\n--b--\n" + PARTS),
    ("payload-in-epilogue", V + MIXED + b"boundary=b\n\n--b\n\nx\n--b--\n" + HIDDEN + b"\n"),
    ("payload-in-epilogue", V + MIXED + b"boundary=b\n\n--b\n\nx\n--b--\n" + UU),
    ("payload-in-epilogue", V + MIXED + b"boundary=b\n\n--b\n\nx\n--b--\n" + HIDDEN + b"\n--b--\n"),
    ("payload-in-preamble", V + MIXED + b"boundary=b\n\n--c\n" + HIDDEN + b"\n--c--\n--b\n\nx\n--b--\n"),
    ("payload-in-preamble", V + MIXED + b"boundary=b\n\n" + UU + b"--b\n\nx\n--b--\n"),
    ("base64-after-padding", V + b"Content-Transfer-Encoding: base64\n\n" + IN_BASE64 + b"\nAA==\nAA=="),
    ("base64-foreign", V + b"Content-Transfer-Encoding: base64\n\n" + IN_BASE64 + b"!AAAA"),
    ("base64-padding", V + b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(EXE + b"x").rstrip(b"=")),
    ("base64-url", V + b"Content-Transfer-Encoding: base64\n\n" + IN_BASE64 + b"-_-_"),
    ("commented-content-transfer-encoding", V + b"Content-Transfer-Encoding: (7bit) base64\n\n" + IN_BASE64),
    ("commented-content-transfer-encoding", V + b"Content-Transfer-Encoding: 7bit (base64)\n\n" + IN_BASE64),
    *(
        ("malformed-content-transfer-encoding", V + b"Content-Transfer-Encoding: " + name + b"\n\n" + IN_BASE64)
        for name in (b"base-64", b"'base64'", b"7bit, base64", b"base64 base64", b"b64", b"unheard-of", b"x-base64;")
    ),
    ("quoted-printable-escape", V + b"Content-Transfer-Encoding: quoted-printable\n\nM=Z=90=00 this is hidden=\n="),
    ("quoted-printable-escape", V + b"Content-Transfer-Encoding: quoted-printable\n\nM=5=\nA=90=00 this is hidden"),
    ("uuencode-blocks", V + b"Content-Transfer-Encoding: x-uuencode\n\n" + UU + b"begin 644 b\n`\nend\n"),
    ("uuencode-without-begin", V + b"Content-Transfer-Encoding: x-uuencode\n\n" + EXE),
    ("embedded-base64", V + b"\nlook:\n" + LINES + b"\nbye\n"),
    ("embedded-base64", V + b"Content-Type: application/pdf\n\n" + LINES),
    ("embedded-base64", V + b"Content-Transfer-Encoding: quoted-printable\n\n" + LINES.replace(b"=", b"=3D")),
    ("embedded-binhex", V + b"\nlook:\n" + binhex(EXE) + b":\nbye\n"),
    ("embedded-uuencode", V + b"\nlook:\n" + UU + b"bye\n"),
    ("embedded-uuencode", V + b"\nbegin-base64 644 a.exe\n" + IN_BASE64 + b"\n====\n"),
    ("embedded-yenc", V + b"\n=ybegin line=128 size=20 name=a.exe\n" + YENC + b"\n=yend size=20\n"),
]


def crlf(raw: bytes) -> bytes:
    """Line ends as they are in mail, but for the contents that hold a bare CR on purpose."""
    return raw.replace(b"\n", b"\r\n")


def told(tree: Tree) -> set[str]:
    return {each.name for each in tree.ambiguities} | {name for part in tree.parts for name in part.readings}


@pytest.mark.parametrize(("name", "raw"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_what_is_hidden_behind_an_ambiguity_is_found(name: str, raw: bytes) -> None:
    tree = parse(crlf(raw))
    assert name in told(tree)
    assert any(EXE in part.content() for part in tree.leaves)
    assert tree.exceeded == ()


@pytest.mark.parametrize(
    ("name", "raw"),
    [(name, raw) for name, raw in CASES if name.startswith(("embedded", "payload"))],
)
def test_files_out_of_a_text_bear_their_names(name: str, raw: bytes) -> None:
    named = [part for part in parse(crlf(raw)).leaves if part.content().startswith(EXE)]
    assert named
    if name != "embedded-base64":
        assert named[0].names == ("a.exe",)


def test_the_docs_name_exactly_the_ambiguities_that_there_are() -> None:
    package = Path(mime.__file__).parent
    literals = {
        node.value
        for path in package.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {each for each in literals if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", each)} - NOT_AMBIGUITIES
    # These are made of "repeated-" and the field's key.
    named |= {f"repeated-{key}" for key in NOT_AMBIGUITIES if key in literals and key.startswith(("content-", "mime-"))}
    assert named == set(DOCUMENTED)
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


def test_each_documented_ambiguity_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(DOCUMENTED)


INNOCENT = [
    V + b"Subject: x\n\nplain text\n",
    V + b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nhello\n",
    V + MIXED + b'boundary="b"\n\nThis is a multi-part message in MIME format.\n' + PARTS + b"-- \nlist footer\n",
    b"Subject: without MIME\n\nbegin with this\nend\n",
    V + b"\nbegin 2026 with a smile\nand go on\nend\n",
    V + b"\nbegin 644 name.txt\nand then\nend\n",
    V + b"\n" + b"".join(b"%064x  file-%d\n" % (number**20, number) for number in range(1, 100)),
    V + b"\n" + b"".join(b"%064x\n" % (number**20) for number in range(1, 100)),
    V + b"Content-Type: text/html\n\n<a href=https://example.com/" + b"Ab9" * 100 + b">x</a>\n",
    V + b"Content-Type: text/html\n\n<img src=data:image/png;base64," + IN_BASE64 * 50 + b">\n",
]


@pytest.mark.parametrize("raw", INNOCENT)
def test_innocent_mail_has_no_ambiguities(raw: bytes) -> None:
    tree = parse(crlf(raw))
    assert tree.ambiguities == ()
    assert not any(part.readings for part in tree.parts)


@pytest.mark.parametrize(
    "declared", [b"message/partial; id=x; number=1; total=2", b"message/external-body; access-type=url"]
)
def test_what_is_elsewhere_is_unchecked(declared: bytes) -> None:
    tree = parse(crlf(V + MIXED + b"boundary=b\n\n--b\nContent-Type: " + declared + b"\n\n" + HIDDEN + b"\n--b--\n"))
    assert tree.unchecked == ((declared.partition(b";")[0].decode(), "1.1"),)
    assert [part.names for part in tree.leaves] == [("a.exe",)]
    assert tree.exceeded == ()


def test_what_is_elsewhere_is_unchecked_without_content_too() -> None:
    assert parse(b"Content-Type: message/partial\r\n\r\n").unchecked == (("message/partial", "1"),)


def test_no_body_is_decoded_twice_for_readings_that_decode_alike() -> None:
    raw = V + b"Content-Type: text/plain\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n" + LINES
    first, second = parse(crlf(raw)).leaves
    assert first.decoded is second.decoded


def test_many_readings_are_cut_and_told() -> None:
    part = b"--b\nContent-Type: text/plain\nContent-Type: text/html\n\nx\n"
    tree = parse(crlf(V + MIXED + b"boundary=b\n\n" + part * 150 + b"--b--\n"))
    assert tree.exceeded == ("readings",)


def test_without_time_what_is_large_is_left_as_it_is() -> None:
    large = V + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(bytes(10_000))
    tree = parse(crlf(large), Limits(seconds=0))
    assert tree.exceeded == ("seconds",)
    assert len(tree.parts) == 1
    assert parse(crlf(large)).exceeded == ()


@pytest.mark.parametrize("oddity", [b"= ", b"= \r\n", b"=", b"=x"])
def test_countless_oddities_of_quoted_printable_are_over_the_limit(oddity: bytes) -> None:
    tree = parse(crlf(V) + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + oddity * 300_000)
    assert tree.exceeded == ("decoded_bytes",)


def test_countless_escapes_of_quoted_printable_are_not() -> None:
    tree = parse(crlf(V) + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=3D=\r\n" * 300_000)
    assert tree.exceeded == ()
    assert tree.root.content() == b"=" * 300_000


@pytest.mark.parametrize("chunk", [16, 32, 64])
def test_quoted_printable_is_the_same_in_any_stretches(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = V + b"Content-Transfer-Encoding: quoted-printable\n\na=3D=\nb==20=  \nc=C3=A4\n=\n\n=4"
    whole = parse(crlf(raw))
    monkeypatch.setattr(quoted_printable, "_CHUNK", chunk)
    assert parse(crlf(raw)).root.content() == whole.root.content()


@pytest.mark.parametrize("chunk", [41, 60, 64 * 1024])
def test_files_in_a_text_are_found_across_stretches(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_CHUNK", chunk)
    escaped = YENC.replace(b"=", b"=}").replace(b"\0", b"=@")
    raw = V + b"\n" + b"text\n" * 9 + LINES + b"text\n=ybegin name=a\n" + escaped * 9 + b"\n=yend\n"
    contents = [part.content() for part in parse(crlf(raw)).parts[1:]]
    assert contents == [EXE * 9, base64.b64decode(LINES)]


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"begin 644 a\n", b"begin-base64 644 b\n", b"end\n", b"====\n", b"#86)C\n", b"=ybegin name=x\n"),
                *(b"=yend\n", b"(This file must be converted with BinHex 4.0)\n:", b"!$&%:\n", b"\x90", b"=", b"\n"),
                *(b"Ab" * 30 + b"\n", b"Ab" * 100, b"==", b" ", b"\0", b"\r", b"--b\n", b"Content-Type: x\n"),
            ]
        )
    )
)
def test_files_in_any_text_do_not_outgrow_it(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    for file in embedded.embedded_files(raw, 0, len(raw)):
        assert 0 <= file.start <= file.end <= len(raw)
        assert len(file.content) <= 20 * len(raw)


@pytest.mark.parametrize("line", [b"0123456789abcdef" * 4 + b"\n", b"A" * 76 + b"\r\n", b"a" * 998 + b"\r\n"])
def test_base64_behind_lines_that_only_look_like_it_is_found(line: bytes) -> None:
    """Lists of checksums, however long, are passed over at once."""
    raw = line * 5000 + LINES
    (file,) = embedded.embedded_files(raw, 0, len(raw))
    assert EXE in file.content
    assert list(embedded.embedded_files(line * 5000, 0, 5000 * len(line))) == []
