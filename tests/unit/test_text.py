"""The text of parts: charsets, HTML as a reader sees it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.html_text import html_text
from contentfilter.mime import parse
from contentfilter.mime.model import Part
from contentfilter.text import decode, is_text, part_text

RUSSIAN, JAPANESE, CHINESE, TAIWANESE = (
    "Срочно оплатите счёт",
    "請求書を確認してください。",
    "请查看附件中的发票",
    "請查看附件中的發票",
)


def leaf(body: bytes, content_type: str = "text/plain") -> Part:
    return parse(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body).root


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        (RUSSIAN, "koi8-r", "KOI8-R"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "utf-8", "us-ascii"),
        (RUSSIAN, "utf-8", "utf8"),
        (RUSSIAN, "utf-8", "x-unheard-of"),
        (RUSSIAN, "utf-8", ""),
        (RUSSIAN, "utf-7", "UTF-7"),
        (RUSSIAN, "utf-16", "utf-16"),
        (RUSSIAN, "utf-16", "us-ascii"),
        (RUSSIAN, "utf-16-le", "utf-16le"),
        (RUSSIAN, "utf-16-be", "utf-16be"),
        (RUSSIAN, "utf-32", ""),
        (RUSSIAN, "utf-8-sig", "iso-8859-1"),
        ("Your invoice", "utf-16-le", ""),
        ("Your invoice", "utf-16-be", "us-ascii"),
        ("Your invoice", "utf-32-le", ""),
        ("Your invoice", "utf-32-be", "utf-8"),
        ("Your invoice", "us-ascii", "utf-16"),
        ("Your invoice", "us-ascii", "utf-32"),
        ("Zahlung für Größe", "utf-8", "utf-16"),
        ("Zahlung für Größe", "cp1252", "utf-8"),
        ("Zahlung für Größe", "latin-1", ""),
        (JAPANESE, "iso-2022-jp", "ISO-2022-JP"),
        (JAPANESE, "iso-2022-jp", ""),
        (JAPANESE, "shift_jis", "Shift_JIS"),
        (JAPANESE, "euc-jp", "euc-jp"),
        (CHINESE, "gb18030", "gb2312"),
        (CHINESE, "gb18030", "gb18030"),
        (TAIWANESE, "big5", "Big5"),
        ("송장을 확인하십시오", "euc-kr", "ks_c_5601-1987"),
    ],
)
def test_charsets(text: str, codec: str, declared: str) -> None:
    assert decode(text.encode(codec), declared) == text


@pytest.mark.parametrize(
    ("source", "codec"),
    [
        ('<meta charset="koi8-r">', "koi8-r"),
        ('<META http-equiv=Content-Type content="text/html; charset=windows-1251">', "cp1251"),
        ('<?xml version="1.0" encoding="Big5"?>', "big5"),
    ],
)
def test_charset_of_html_itself(source: str, codec: str) -> None:
    text = TAIWANESE if codec == "big5" else RUSSIAN
    body = f"<html>{source}<body>{text}</body></html>".encode(codec)
    assert part_text(leaf(body, "text/html")).visible == text


def test_declared_charset_comes_before_html_s_own() -> None:
    body = f'<meta charset="koi8-r"><p>{RUSSIAN}'.encode("cp1251")
    assert part_text(leaf(body, "text/html; charset=windows-1251")).visible == RUSSIAN


@pytest.mark.parametrize(
    ("source", "visible"),
    [
        ("<b>V</b>ia<i>gr</i>a", "Viagra"),
        ("<p>one<p>two<br>three<div>four</div>five", "one\ntwo\nthree\nfour\nfive"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"),
        ("&#86;&#x69;&amp;&nbsp;&eacute;&lt;b&gt;", "Vi& é<b>"),
        ("a<script>b</script>c<style>d</style>e<!-- f -->g", "aceg"),
        ("<head><title>t</title></head><body>b", "b"),
        ("a<span style='display:none'>b<b>c</b></span>d", "ad"),
        ("a<span style='DISPLAY : None !important'>b</span>c", "ac"),
        ("a<span style='dis/**/play:none'>b</span>c", "ac"),
        ("a<span style='color:red;visibility:hidden'>b</span>c", "ac"),
        ("a<span style=font-size:0>b</span>c", "ac"),
        ("a<span style='font-size:0.0px;'>b</span><span style='font-size:1px'>c</span>d", "ad"),
        ("a<span style='font-size:0.9em'>b</span><span style='font-size:10px'>c</span>", "abc"),
        ("a<span style='opacity:0'>b</span><span style='opacity:0.5'>c</span>", "ac"),
        ("a<div style='max-height:0;overflow:hidden'>b</div><div style='height:0'>c</div>", "a\nc"),
        ("a<span style='line-height:0;overflow:hidden'>b</span>", "ab"),
        ("a<span style='mso-hide:all'>b</span><span hidden>c</span><span HIDDEN=x>d</span>e", "ae"),
        ("a<span style='text-indent:-9999px'>b</span><span style='left:-10000px'>c</span>", "a"),
        ("<noscript>n</noscript><textarea>t</textarea><svg><text>s</text></svg>", "nts"),
        ("a<template>b</template>c", "ac"),
        ("a<svg><style><script>b</script></style></svg>c", "ac"),
        ("a < b <= c <3 d", "a < b <= c <3 d"),
        ("a\ue000b\ue003c", "abc"),
        ("no <b end", "no <b end"),
        ("<a x='>'>b</a>", "b"),
        ("<p a=1 b='2'c=3>d</p>", "d"),
        ("<b><span style='display:none'x>a</span>b", "b"),
        ("", ""),
    ],
)
def test_visible(source: str, visible: str) -> None:
    assert html_text(source).visible == visible


@pytest.mark.parametrize(
    "source",
    [
        "<span style='display:none'>secret</span>",
        "<!-- secret -->",
        "<!-- <b>secret</b>",
        "<img alt='secret'>",
        "<a title=secret>x</a>",
        "<title>secret</title>",
        "<template><b>secret</b></template>",
        "<a href='>\"<'><i hidden>secret</i></a>",
        "<table hidden>secret<tr><td>x</table>",
    ],
)
def test_complete_has_what_is_hidden(source: str) -> None:
    found = html_text(source)
    assert "secret" in found.complete
    assert found.complete.count("secret") == 1


def test_hidden_is_not_visible() -> None:
    assert html_text("<div hidden><p>a</p><p style='display:none'>b</p>c</div>d") == html_text(
        "<i hidden>a\nb\nc\n</i>d"
    )


# Each takes any HTML parser quadratic time, and exponential memory the last, unless it is kept from it.
HOSTILE = {
    "deep": "<div>" * 60_000 + "x",
    "deep-unnoticed": "<div></x>" * 30_000 + "x",
    "deep-in-tables": "<div><table></div></table>" * 20_000 + "x",
    "attributes": "<a " + " ".join(f"a{number}=1" for number in range(60_000)) + ">x",
    "attributes-quoted": "<a " + " ".join(f'a{number}=">"' for number in range(60_000)) + ">x",
    "attributes-of-end": "</p " + " ".join(f"a{number}" for number in range(60_000)) + ">x",
    "open-tags": "<a " * 100_000 + "x",
    "open-quotes": "<a '" + '<b "' * 100_000 + "x",
    "comments": "x" + "<!--" * 100_000,
    "declarations": "x" + "<!" * 200_000,
    "scripts": "<script>if(a<b)</script>" * 20_000 + "x",
    "blanks": " \n" * 200_000 + "x" + " " * 400_000,
    "reopened": "".join(f"<font color={number}>" for number in range(250)) + "<p>" * 100_000 + "x",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_hostile_html_keeps_its_text(source: str) -> None:
    # Without the guards each of these runs into minutes; the suite's patience is the clock.
    assert "x" in html_text(source).complete


PIECES = st.sampled_from(
    [
        "<",
        ">",
        "</",
        "<!--",
        "-->",
        "<b>",
        "</b>",
        "<p>",
        "<p",
        "style=display:none>",
        "<table>",
        "<td>",
        "</table>",
        "<script>",
        "</script>",
        "<svg>",
        "<template>",
        "<select>",
        "<title>",
        "<a",
        'x="',
        "'",
        "=",
        "&lt;",
        "&#0;",
        "&#xD800;",
        "\x00",
        "\ue001",
        "\ue002",
        "word",
        "<![CDATA[",
        "]]>",
        "<?php",
        "<plaintext>",
        "<frameset>",
    ]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_html(pieces: list[str]) -> None:
    found = html_text("".join(pieces))
    found.complete.encode()
    assert len(found.visible) <= len(found.complete)


@given(
    st.lists(st.sampled_from(["<p>", "</p>", "<b>", "</b>", "<i x=1>", "<br>", "<div>", "</div>", " "]), max_size=30),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_words_stay_whole(tags: list[str], data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(tags)))
    assert "needle" in html_text("".join([*tags[:where], "needle", *tags[where:]])).visible


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-16", "utf-7", "iso-2022-jp", "gb2312", "big5", "x"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes(data: bytes, charset: str) -> None:
    for whole in (True, False):
        decode(data, charset, is_html=True, whole=whole).encode()


def test_limit_and_half_characters() -> None:
    found = part_text(leaf((RUSSIAN * 100).encode(), "text/plain; charset=utf-8"), 101)
    assert found.visible == (RUSSIAN * 100)[:101]
    assert found.truncated
    assert not part_text(leaf(b"short"), 5).truncated
    cut = "ж" * 100
    assert decode(cut.encode()[:-1], "utf-8", whole=False) == cut[:-1]


def test_the_source_keeps_its_tags() -> None:
    found = part_text(leaf("<b>grüße</b> &amp;".encode("latin-1"), "text/html; charset=iso-8859-1"))
    assert (found.visible, found.source) == ("grüße &", "<b>grüße</b> &amp;")
    plain = part_text(leaf(b"<b>no HTML</b>"), 8)
    assert plain.source == plain.visible == "<b>no HT"


def test_text_behind_the_limit_is_told_of() -> None:
    found = part_text(leaf(b"<!--" + b"x" * 5000 + b"-->seen", "text/html"), 1000)
    assert found.truncated


def test_texts_of_the_leaves_that_are_text() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n" + RUSSIAN.encode("koi8-r") + b"\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<p>two<i hidden>x</i>\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\ndGhyZWU=\r\n"
        b"--b\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n"
    )
    found = {part.path: part_text(part) for part in parse(message).leaves if is_text(part)}
    assert [(path, text.visible.strip(), text.complete.strip()) for path, text in found.items()] == [
        ("1.1", RUSSIAN, RUSSIAN),
        ("1.2", "two", "twox"),
        ("1.3", "three", "three"),
    ]


def test_html_without_its_type_is_read_as_html() -> None:
    assert part_text(leaf(b"<!DOCTYPE html><b>V</b>ia")).visible == "Via"
    assert part_text(leaf(b"see <b> and </b>")).visible == "see <b> and </b>"
