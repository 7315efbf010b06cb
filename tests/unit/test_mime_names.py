from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.mime import Limits, parse, parse_header
from contentfilter.mime.names import file_names
from contentfilter.mime.parameters import parameters, without_comments


def names_of(*lines: bytes) -> tuple[str, ...]:
    return file_names(parse_header(b"\r\n".join([*lines, b"", b""])), 200)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b'attachment; filename="a.exe"', ["a.exe"]),
        (b"attachment; filename=a.exe", ["a.exe"]),
        (b"attachment;filename=my file.exe ; size=3", ["my file.exe"]),
        (b'attachment; FILENAME = "a.exe"', ["a.exe"]),
        (b'attachment; filename="a;b.exe"', ["a;b.exe"]),
        (b'attachment; filename="never closed.exe', ["never closed.exe"]),
        (b'attachment; size="3" filename="no semicolon.exe"', ["no semicolon.exe"]),
        (b'attachment; filename="a\\"b.exe"', ['a"b.exe', 'a\\"b.exe']),
        (b'attachment; filename="C:\\dir\\a.exe"', ["C:dira.exe", "C:\\dir\\a.exe"]),
        (b'attachment; filename="a.txt"; filename="b.exe"', ["a.txt", "b.exe"]),
        (b'attachment; filename=""', []),
        (b"attachment; filename", []),
        (b"attachment", []),
        (b"", []),
        (b"attachment; filename=report(1).exe", ["report(1).exe", "report.exe"]),
        (b'attachment; filename="report(1).exe"', ["report(1).exe"]),
        (b"attachment; filename*=utf-8''%e2%82%ac.exe", ["€.exe"]),
        (b"attachment; filename*=''a%2Eexe", ["a.exe"]),
        (b"attachment; filename*=a%2Eexe", ["a.exe"]),
        (b"attachment; filename*=no-charset'en'a.exe", ["a.exe"]),
        (b"attachment; filename=\"a.txt\"; filename*=utf-8''b.exe", ["a.txt", "b.exe"]),
        (b"attachment; filename*1=b.exe; filename*0=a", ["ab.exe"]),
        (b"attachment; filename*0=a; filename*1=.exe; filename*3=.txt", ["a.exe.txt", "a.exe"]),
        (b"attachment; filename*1=a; filename*2=.exe", ["a.exe"]),
        (b"attachment; filename*0*=utf-8''%c3; filename*1*=%a4.exe", ["ä.exe"]),
        (b"attachment; filename*0*=utf-8''a%20; filename*1=%20.exe", ["a %20.exe"]),
        (b"attachment; filename*0=a; filename*0=z; filename*1=.exe", ["a.exe", "z.exe"]),
        (b"attachment; filename*2=e; filename*0=a; filename*1=.ex", ["a.exe"]),
        (b"attachment; filename*0=a.exe; filename*5=.txt", ["a.exe.txt", "a.exe"]),
        (b"attachment; filename*=utf-7''a+AC4-exe", ["a.exe"]),
        (b"attachment; filename*=koi8-r''%d4%c5%d3%d4.exe", ["тест.exe"]),
        (b"attachment; filename=a+AC4-exe", ["a+AC4-exe", "a.exe"]),
        (b"attachment; filename=a+b.exe", ["a+b.exe"]),
        (b"attachment; filename==?utf-8?q?a=2Eexe?=", ["a.exe"]),
        (b'attachment; filename="=?utf-8?q?a?= =?utf-8?b?LmV4ZQ==?="', ["a.exe"]),
        (b"attachment; filename=t\xe4st.exe", ["täst.exe"]),
        (b'attachment; name="a.exe"', ["a.exe"]),
        (b"attachment filename=a.exe", ["a.exe"]),
        (b'filename="a.exe"', ["a.exe"]),
        (b"=?utf-8?q?attachment;_filename=3Da.exe?=", ["a.exe"]),
        (b'attachment; filename="=?utf-8?q?a=2Eexe?="', ["a.exe"]),
        (b"attachment; filename*=utf-8''%3D%3Futf-8%3Fq%3Fa%3F%3D.exe", ["a.exe"]),
        (b"attachment; notfilename=a.exe", []),
    ],
)
def test_names_in_content_disposition(value: bytes, names: list[str]) -> None:
    assert names_of(b"Content-Disposition: " + value) == tuple(names)


def test_names_of_every_field_count_each_once() -> None:
    assert names_of(
        b'Content-Type: text/plain; name="a.txt"',
        b'Content-Disposition: inline; filename="b.txt"',
        b'Content-Type: text/plain; name="b.txt"',
        b'content-disposition: attachment;\r\n filename="c.exe"',
    ) == ("b.txt", "c.exe", "a.txt")


@pytest.mark.parametrize(
    ("value", "bare"),
    [
        (b"a (b) c", b"a  c"),
        (b"a (b (c) d) e", b"a  e"),
        (b'a "(b)" c', b'a "(b)" c'),
        (b"a (never closed", b"a "),
        (b"a ) b", b"a ) b"),
        (b'("(") a', b" a"),
        (b"(\\)) a", b" a"),
    ],
)
def test_comments(value: bytes, bare: bytes) -> None:
    assert without_comments(value) == bare


def test_parameters_are_limited() -> None:
    assert len(parameters(b"a" + b"; b=c" * 1000, 10)) == 10
    for before, charset in ((6, "koi8-r"), (7, "")):
        field = b"Content-Type: text/plain" + b"; b=c" * before + b"; charset=koi8-r\r\n\r\n"
        assert parse(field, Limits(parameters=7)).root.charset == charset


@given(
    st.lists(st.sampled_from([b"; ", b"filename", b"*", b"0", b"1", b"=", b'"', b"\\", b"''", b"%4", b"(", b")", b"a"]))
)
def test_names_of_anything_do_not_raise(pieces: list[bytes]) -> None:
    for name in names_of(b"Content-Disposition: a; filename" + b"".join(pieces)):
        assert name.encode("utf-8")


def _encoded(value: bytes) -> bytes:
    return b"=?us-ascii?B?" + base64.b64encode(value) + b"?="


MANY = b"".join(b"; x%d=y" % number for number in range(200))


@pytest.mark.parametrize(
    ("fields", "exceeded"),
    [
        ([b"attachment; filename=a.txt" + MANY], True),
        ([b"attachment; filename=a.txt; name=b.txt"] * 101 + [b"attachment; filename=run.exe"], True),
        ([b'attachment; filename="a\\b"; name="a\\b"'] * 51 + [b"attachment; filename=run.exe"], True),
        ([b"attachment" + b" filename=a.txt;" * 300 + b" filename=run.exe"], True),
        ([b"attachment" + b" name=a.txt," * 300 + b" filename=run.exe"], False),
        ([_encoded(b"attachment" + MANY + b"; filename=run.exe")], True),
        ([b"attachment (=) " + b"; filename=a.txt (x)" * 101 + b"; filename=run.exe"], True),
        ([b"attachment; filename=a.txt; name=b.txt"] * 20, False),
        ([b"attachment; filename=" + b"=?us-ascii?q?" + b"=61" * 400 + b"?="], False),
        ([b"attachment; filename=a.txt" + MANY[:600]], False),
    ],
)
def test_where_names_are_left_out_it_is_said(fields: list[bytes], *, exceeded: bool) -> None:
    lines = b"".join(b"Content-Disposition: " + field + b"\r\n" for field in fields)
    tree = parse(b"From: a@b.example\r\n" + lines + b"\r\nx")
    assert ("parameters" in tree.exceeded) == exceeded
    seen = any(name.endswith("run.exe") for part in tree.parts for name in part.names)
    assert seen or exceeded or not any(b"run.exe" in field for field in fields)
