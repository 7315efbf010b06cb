from __future__ import annotations

import base64
import mmap
import tempfile
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contentfilter.mime import Limits, Tree, parse


def crlf(text: bytes) -> bytes:
    return text.replace(b"\n", b"\r\n")


def multipart(*parts: bytes, boundary: bytes = b"b", close: bool = True) -> bytes:
    delimited = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    end = b"--" + boundary + b"--\r\n" if close else b""
    return b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n" + delimited + end


def shape(tree: Tree) -> list[tuple[str, str]]:
    return [(part.path, part.declared_type) for part in tree.parts]


def noted(tree: Tree) -> set[str]:
    return {ambiguity.name for ambiguity in tree.ambiguities}


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b"x", b"\r\n--b", b"--\r\n"])
def test_tiny_input_has_one_leaf(raw: bytes) -> None:
    tree = parse(raw)
    assert shape(tree) == [("1", "text/plain")] or noted(tree) == {"header-defect"}
    assert tree.exceeded == ()


@pytest.mark.parametrize(
    ("declared", "wanted", "malformed"),
    [
        (b"text/HTML; charset=x", "text/html", False),
        (b"text / html", "text/html", False),
        (b"text", "text/plain", True),
        (b"", "text/plain", True),
        (b"/", "text/plain", True),
        (b"text/html charset=x", "text/html", True),
        (b"text/html, text/plain", "text/html", True),
        (b'"text/html"', "text/html", False),
        (b"(c) text/html (d)", "text/html", False),
        (b"application/vnd.x+y-z.1", "application/vnd.x+y-z.1", False),
    ],
)
def test_declared_type(declared: bytes, wanted: str, malformed: bool) -> None:
    tree = parse(b"Content-Type: " + declared + b"\r\n\r\nx")
    assert tree.root.declared_type == wanted
    assert ("malformed-content-type" in noted(tree)) is malformed


@pytest.mark.parametrize(
    "parameter",
    [
        b"boundary=b",
        b'boundary="b"',
        b'boundary="b "',
        b"boundary = b",
        b"BOUNDARY=b",
        b"charset=x; boundary=b",
        b'charset="a;boundary=c"; boundary=b',
        b"boundary=b (comment)",
        b"boundary=b charset=x",
        b'\r\n\tboundary="b"',
        b"boundary*=us-ascii''b",
        b"boundary*0=b",
        b'boundary="\\b"',
    ],
)
def test_boundary_in_every_dress(parameter: bytes) -> None:
    tree = parse(
        b"Content-Type: multipart/mixed; " + parameter + b"\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    )
    assert [part.content() for part in tree.leaves][:2] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"--b\n\none\n--b--\n", [b"one"]),
        (b"preamble\n--b\n\none\n--b--\nepilogue", [b"one"]),
        (b"--b  \n\none\n--b--\t\n", [b"one"]),
        (b"--b\n\none\n\n--b--", [b"one\r\n"]),
        (b"--b\n\none --b\n--b--\n", [b"one --b"]),
        (b"--b\n\n--bx\n --b\n--b--\n", [b"--bx\r\n --b"]),
        (b"--b\n\none\n--b--x\ntwo\n--b--\n", [b"one\r\n--b--x\r\ntwo"]),
        (b"--b\n--b--\n", [b""]),
        (b"--b", [b""]),
        (b"--b\n\none", [b"one"]),
        (b"--b\n\none\n--b", [b"one", b""]),
        (b"--b\n\none\n--b\n", [b"one", b""]),
        (b"\n\n--b\n\none\n--b--", [b"one"]),
    ],
)
def test_delimiters(body: bytes, contents: list[bytes]) -> None:
    tree = parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + crlf(body))
    assert [part.content() for part in tree.leaves if not part.readings] == contents


@pytest.mark.parametrize("count", [99, 100, 101, 1000])
def test_lines_that_only_begin_like_a_delimiter_are_content_however_many(count: int) -> None:
    content = b"--bx\r\n" * count + b"--b-"
    tree = parse(multipart(b"\r\n" + content, b"\r\ntwo"))
    assert [part.content() for part in tree.leaves if not part.readings] == [content, b"two"]
    assert noted(tree) == {"boundary-prefix"}
    assert sum(part.readings == ("boundary-prefix",) for part in tree.parts) == count + 4


def test_bare_lf_in_a_decoded_message_works_like_crlf() -> None:
    inner = multipart(b"\r\none", b"Content-Type: text/html\r\n\r\ntwo").replace(b"\r\n", b"\n")
    raw = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(inner)
    tree = parse(raw)
    assert [part.content() for part in tree.leaves] == [b"one", b"two"]
    assert tree.leaves[0].buffer == inner


def test_multipart_without_delimiter_is_a_leaf() -> None:
    tree = parse(b"Content-Type: multipart/mixed; boundary=b\r\n\r\njust text\r\n")
    assert [part.content() for part in tree.leaves] == [b"just text\r\n"]
    assert noted(tree) == {"no-delimiter"}


def test_inner_multipart_ends_with_the_outer_one() -> None:
    inner = multipart(b"\r\none", boundary=b"inner", close=False)
    tree = parse(multipart(inner, b"\r\ntwo"))
    assert [(part.path, part.content()) for part in tree.leaves] == [("1.1.1", b"one\r\n"), ("1.2", b"two")]
    assert noted(tree) == {"missing-closing-delimiter"}


@pytest.mark.parametrize(
    ("fields", "contents"),
    [
        (b"Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: base64\n", {b"abc"}),
        (b"Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n", {b"abc", b"YWJj"}),
        (b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n", {b"abc", b"YWJj"}),
        (b"Content-Transfer-Encoding: x-base64\n", {b"abc", b"YWJj"}),
        (b"Content-Transfer-Encoding: mystery\n", {b"YWJj"}),
    ],
)
def test_each_reading_of_the_encoding_has_its_content(fields: bytes, contents: set[bytes]) -> None:
    tree = parse(crlf(fields) + b"\r\nYWJj")
    assert {part.content() for part in tree.leaves} == contents
    straight = [part for part in tree.parts if not part.readings]
    assert len(straight) == 1


def test_part_lies_where_its_offsets_say() -> None:
    raw = multipart(b"Content-Type: text/html\r\n\r\none", b"\r\ntwo")
    first, second = parse(raw).leaves
    assert raw[first.header.start : first.header.end] == b"Content-Type: text/html\r\n"
    assert raw[first.start : first.end] == b"one"
    assert raw[second.start : second.end] == b"two"


def test_memory_map_gives_the_same_tree_and_can_be_closed() -> None:
    raw = multipart(b"Content-Transfer-Encoding: base64\r\n\r\nYWJj", b"\r\ntwo")
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            tree = parse(mapped)
            contents = [part.content() for part in tree.leaves]
            heads = [part.head(2) for part in tree.leaves]
    assert contents == [b"abc", b"two"]
    assert heads == [b"ab", b"tw"]


# Limits.


def test_hundred_thousand_parts_stop_at_the_limit() -> None:
    tree = parse(multipart(*[b"Content-Type: text/plain\r\n\r\nx"] * 100_000))
    assert len(tree.parts) == Limits().parts
    assert tree.exceeded == ("parts",)


def test_exactly_as_many_parts_as_allowed_are_no_excess() -> None:
    raw = multipart(*[b"\r\nx"] * 9)
    assert parse(raw, Limits(parts=10)).exceeded == ()
    assert parse(raw, Limits(parts=9)).exceeded == ("parts",)


def test_thousand_levels_of_multipart_stop_at_the_limit() -> None:
    levels = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(1000)]
    tree = parse(b"".join(levels))
    assert max(part.depth for part in tree.parts) == Limits().depth
    assert "depth" in tree.exceeded


def test_thousand_levels_of_messages_stop_at_the_limit() -> None:
    tree = parse(b"Content-Type: message/rfc822\r\n\r\n" * 1000)
    assert len(tree.parts) == Limits().depth + 1
    assert tree.exceeded == ("depth",)
    assert tree.parts[-1].is_leaf


def test_header_bytes_are_limited_over_all_parts() -> None:
    part = b"X-Long: " + b"x" * 1000 + b"\r\n\r\nbody"
    tree = parse(multipart(*[part] * 50), Limits(header_bytes=10_000))
    assert tree.exceeded == ("header_bytes",)
    assert [each.content() for each in tree.leaves] == [b"body"] * 50
    assert sum(bool(each.header.fields) for each in tree.leaves) < 10


def test_field_count_is_limited() -> None:
    tree = parse(b"A: b\r\n" * 5000 + b"\r\nbody")
    assert tree.exceeded == ("fields",)
    assert tree.root.content() == b"body"


def test_decoded_bytes_are_limited_and_the_rest_stays_as_it_is() -> None:
    part = b"Content-Transfer-Encoding: base64\r\n\r\nYWJj"
    tree = parse(multipart(part, part), Limits(decoded_bytes=5))
    assert [each.content() for each in tree.leaves] == [b"abc", b"YWJj"]
    assert tree.exceeded == ("decoded_bytes",)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Disposition: attachment" + b"; a=b" * 300 + b"; filename=x.exe",
        b"Content-Type: text/plain" + b'; a="b"' * 300,
        b"\r\n".join([b"Content-Disposition: attachment; filename=a"] * 300),
    ],
)
def test_parameters_are_limited(line: bytes) -> None:
    assert parse(line + b"\r\n\r\n").exceeded == ("parameters",)


def test_a_long_encoded_name_is_not_many_parameters() -> None:
    line = b'Content-Disposition: attachment; filename="=?utf-8?q?' + b"=D0=9F" * 300 + b'?="'
    assert parse(line + b"\r\n\r\n").exceeded == ()


def test_what_is_searched_for_delimiters_is_limited() -> None:
    inner = multipart(b"\r\ninner", boundary=b"inner")
    raw = b"MIME-Version: 1.0\r\n" + multipart(inner)
    assert len(parse(raw, Limits(searched_bytes=len(raw) + len(inner))).parts) == 3
    cut_short = parse(raw, Limits(searched_bytes=len(raw.partition(b"\r\n\r\n")[2])))
    assert len(cut_short.parts) == 2
    assert cut_short.exceeded == ("searched_bytes",)


def test_readings_are_limited() -> None:
    part = b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx"
    tree = parse(multipart(*[part] * 10), Limits(readings=3))
    assert sum(bool(each.readings) for each in tree.parts) == 3
    assert tree.exceeded == ("readings",)


# Properties.

HOSTILE = st.lists(
    st.sampled_from(
        [
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: multipart/digest; boundary=c; boundary=b\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: text/html\r\n",
            b"Content-Type: multipart/alternative\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"Content-Transfer-Encoding: x-uuencode\r\n",
            b'Content-Disposition: attachment; filename="a.exe"\r\n',
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"--b\r\n",
            b"--b--\r\n",
            b"--c\r\n",
            b"YWJj",
            b"YQ==",
            b"bad line\r\n",
            b"From x\r\n",
            b"begin 644 a\r\n",
            b"#86)C\r\nend\r\n",
            b"\0\xff",
            b"--bx\r\n",
            b"MIME-Version: 1.0\r\n",
            b"Content-Type: text/plain; boundary=b\r\n",
            b"Content-Type: message/partial\r\n",
            b"Content-Transfer-Encoding: base64 (x) mystery\r\n",
            b" \t\r\n",
            b"boundary=b\r\n",
            b"=\r\n=3D==x",
            b"Ab" * 100 + b"\r\n",
        ]
    ),
    max_size=60,
).map(b"".join)


def check_invariants(raw: bytes, limits: Limits) -> None:
    tree = parse(raw, limits)
    assert 1 <= len(tree.parts) <= limits.parts
    paths = [part.path for part in tree.parts]
    assert len(set(paths)) == len(paths)
    known = {"", *paths}
    for part in tree.parts:
        assert part.depth <= limits.depth
        assert part.parent in known
        assert 0 <= part.header.start <= part.header.end <= part.start <= part.end <= len(part.buffer)
        assert len(part.content()) == part.size
    assert sum("~" in path.rpartition(".")[2] for path in paths) <= limits.readings
    assert sum(len(part.decoded or b"") for part in tree.parts if not part.readings) <= limits.decoded_bytes


@given(st.binary())
def test_any_bytes_give_a_tree(raw: bytes) -> None:
    check_invariants(raw, Limits())


@settings(max_examples=400)
@given(HOSTILE)
@example(b"Content-Type: multipart/mixed; boundary=b\r\n--b\r\n")
def test_hostile_structure_gives_a_tree_within_the_limits(raw: bytes) -> None:
    check_invariants(raw, Limits())
    check_invariants(raw, Limits(depth=2, parts=5, readings=2, header_bytes=100, fields=4, decoded_bytes=20))


CONTENT = st.binary(max_size=300)
NAME = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20).map(
    lambda name: "x" + name.replace('"', "'").replace("\\", "/").strip() + ".bin"
)
LEAF = st.tuples(NAME, CONTENT, st.sampled_from(["base64", "quoted-printable"]))


def built(leaves: list[tuple[str, bytes, str]], forwarded: EmailMessage | None) -> EmailMessage:
    message = EmailMessage(SMTP.clone(cte_type="8bit"))
    message["Subject"] = "test"
    message.set_content("hello\n")
    for name, content, encoding in leaves:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name, cte=encoding)
    if forwarded is not None:
        message.add_attachment(forwarded)
    return message


@given(st.lists(LEAF, min_size=1, max_size=4), st.lists(st.lists(LEAF, max_size=2), max_size=3))
def test_parts_of_a_well_formed_message_are_found_exactly(
    leaves: list[tuple[str, bytes, str]], forwards: list[list[tuple[str, bytes, str]]]
) -> None:
    message: EmailMessage | None = None
    wanted: list[tuple[str, bytes]] = []
    for each in [*forwards, leaves]:
        message = built(each, message)
        wanted = [(name, content) for name, content, _ in each] + wanted
    assert message is not None
    tree = parse(message.as_bytes())
    found = [(part.name, part.content()) for part in tree.leaves if part.disposition == "attachment"]
    assert found == wanted
    texts = [part.content() for part in tree.leaves if part.disposition != "attachment"]
    assert texts in (
        [b"hello"] * len(texts),
        [b"hello\r\n"] * len(texts),
        [b"hello"] * (len(texts) - 1) + [b"hello\r\n"],
    )
    assert tree.ambiguities == ()
    assert tree.exceeded == ()
