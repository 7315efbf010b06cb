"""Names of programs, written so that a filter does not see them and the recipient's system does."""

from __future__ import annotations

import base64

from tests.corpus.building import TEXT, Family, b64, carrying, entity, mixed, text
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT, UNCHECKED
from tests.corpus.formats import zip_file

_family = Family("file-names")
_add = _family.add
_WINDOWS = "Windows: it drops or reinterprets these characters when the file is saved"


def _named(disposition: bytes, content_type: bytes = b"application/octet-stream") -> bytes:
    """A harmless text with this Content-Disposition."""
    fields = (b"Content-Type: " + content_type, b"Content-Transfer-Encoding: base64")
    return mixed(text(), entity(b64(TEXT), *fields, b"Content-Disposition: attachment" + disposition))


def _word(text_: str, charset: str, encoding: str) -> bytes:
    raw = text_.encode(charset)
    if encoding == "B":
        return b"=?%s?B?%s?=" % (charset.encode(), base64.b64encode(raw))
    return b"=?%s?Q?%s?=" % (charset.encode(), b"".join(b"=%02X" % byte for byte in raw))


_2231 = "clients that follow RFC 2231"
_EXIM = "clients that follow RFC 2231; Exim did not (CVE-2024-39929)"
_2047 = "Outlook, Gmail and Thunderbird decode RFC 2047 words in parameters, though RFC 2047 forbids them"
for _name, _why, _client, _parameter in (
    ("plain", "nothing is hidden", STANDARD, b"; filename=run.exe"),
    ("capitals", "in capitals", STANDARD, b"; filename=RUN.EXE"),
    ("no-quotes-blank", "an unquoted name with a blank", TOLERANT, b"; filename=my run.exe"),
    ("quote-not-closed", "the quote is never closed", TOLERANT, b'; filename="run.exe'),
    ("escapes", "backslashes before letters", STANDARD, b'; filename="ru\\n.\\e\\x\\e"'),
    ("escaped-quotes", "escaped quotes in the name", STANDARD, b'; filename="a\\"; filename=b.txt; \\"run.exe"'),
    ("single-quotes", "in single quotes", TOLERANT, b"; filename='run.exe'"),
    ("comment", "a comment behind the name", STANDARD, b"; filename=run.exe (a.txt)"),
    ("blank-before-equals", "blanks around the equals sign", TOLERANT, b"; filename = run.exe"),
    ("no-semicolon", "no semicolon before filename", NOT_VERIFIED, b" filename=run.exe"),
    ("twice-first", "filename twice, the program first", NOT_VERIFIED, b"; filename=run.exe; filename=a.txt"),
    ("twice-last", "filename twice, the program last", NOT_VERIFIED, b"; filename=a.txt; filename=run.exe"),
    ("2231", "RFC 2231 with charset and percent escapes", _2231, b"; filename*=utf-8''run%2Eex%65"),
    ("2231-no-charset", "RFC 2231 without a charset", _2231, b"; filename*=''run%2Eexe"),
    ("2231-no-quotes", "RFC 2231 without the two quotes", NOT_VERIFIED, b"; filename*=run%2Eexe"),
    ("2231-quoted", "RFC 2231 in quotes, which it forbids", TOLERANT, b"; filename*=\"utf-8''run%2Eexe\""),
    ("2231-pieces", "RFC 2231 in pieces", _EXIM, b"; filename*0=run; filename*1=.exe"),
    (
        "2231-many-lines",
        "RFC 2231 in pieces over several lines",
        _EXIM,
        b";\r\n filename*0*=''run;\r\n filename*1*=%2E;\r\n filename*2=exe",
    ),
    ("2231-out-of-order", "RFC 2231 in pieces, out of order", _2231, b"; filename*2=xe; filename*0=run; filename*1=.e"),
    ("2231-gap", "RFC 2231 in pieces, number 1 is missing", NOT_VERIFIED, b"; filename*0=run.; filename*2=exe"),
    ("2231-from-one", "RFC 2231 in pieces that begin with 1", NOT_VERIFIED, b"; filename*1=run; filename*2=.exe"),
    (
        "2231-leading-zero",
        "RFC 2231 in pieces numbered 00 and 01",
        NOT_VERIFIED,
        b"; filename*00=run; filename*01=.exe",
    ),
    (
        "2231-same-number",
        "RFC 2231 in pieces, one number twice",
        NOT_VERIFIED,
        b"; filename*0=a; filename*0=run; filename*1=.exe",
    ),
    (
        "2231-mixed",
        "RFC 2231 pieces, some with escapes",
        _2231,
        b"; filename*0*=utf-8''r%75n; filename*1=.e; filename*2*=x%65",
    ),
    (
        "2231-beside-plain",
        "RFC 2231 beside a harmless plain name",
        _2231,
        b"; filename=a.txt; filename*=utf-8''run.exe",
    ),
    (
        "plain-beside-2231",
        "a program's plain name beside a harmless one in RFC 2231",
        "clients without RFC 2231, such as old Outlook",
        b"; filename=run.exe; filename*=utf-8''a.txt",
    ),
    ("2231-utf-16", "RFC 2231 in UTF-16", NOT_VERIFIED, b"; filename*=utf-16le''r%00u%00n%00.%00e%00x%00e%00"),
    (
        "2231-2047",
        "an RFC 2047 word within RFC 2231",
        NOT_VERIFIED,
        b"; filename*=us-ascii''=%3Fus-ascii%3FQ%3Frun.exe%3F=",
    ),
    ("2047-q", "an RFC 2047 word", _2047, b'; filename="' + _word("run.exe", "utf-8", "Q") + b'"'),
    ("2047-b", "an RFC 2047 word in base64", _2047, b'; filename="' + _word("run.exe", "utf-8", "B") + b'"'),
    ("2047-unquoted", "an RFC 2047 word without quotes", _2047, b"; filename=" + _word("run.exe", "utf-8", "B")),
    (
        "2047-two-words",
        "two RFC 2047 words",
        _2047,
        b'; filename="' + _word("ru", "utf-8", "Q") + b" " + _word("n.exe", "utf-8", "B") + b'"',
    ),
    (
        "2047-split-dot",
        "the dot stands between two RFC 2047 words",
        _2047,
        b'; filename="' + _word("run", "utf-8", "Q") + b"." + _word("exe", "utf-8", "Q") + b'"',
    ),
    (
        "2047-folded",
        "two RFC 2047 words on two lines",
        _2047,
        b'; filename="' + _word("run.", "utf-8", "Q") + b"\r\n " + _word("exe", "utf-8", "Q") + b'"',
    ),
    (
        "2047-koi8-r",
        "a name in KOI8-R",
        _2047,
        b'; filename="' + _word("\u043f\u0440\u0438\u0432\u0435\u0442.exe", "koi8-r", "B") + b'"',
    ),
    ("2047-utf-7", "a name in UTF-7", NOT_VERIFIED, b'; filename="=?utf-7?Q?run+AC4-exe?="'),
    ("2047-utf-16", "a name in UTF-16", NOT_VERIFIED, b'; filename="' + _word("run.exe", "utf-16-be", "B") + b'"'),
    (
        "2047-no-padding",
        "an RFC 2047 word whose base64 lacks its padding",
        TOLERANT,
        b'; filename="' + _word("run.exe", "utf-8", "B").replace(b"==?=", b"?=").replace(b"=?=", b"?=") + b'"',
    ),
    (
        "2047-language",
        "an RFC 2047 word with a language (RFC 2231 section 5)",
        _2231,
        b'; filename="=?utf-8*en?Q?run.exe?="',
    ),
    ("percent", "percent escapes in a plain name", "some webmails", b'; filename="run%2Eexe"'),
    ("eight-bit", "a name in raw Latin-1", TOLERANT, b'; filename="\xfcber.exe"'),
    ("utf-8", "a name in raw UTF-8", TOLERANT, '; filename="\u00fcber.exe"'.encode()),
    (
        "right-to-left",
        "a right-to-left override: it looks like annexe.txt",
        "all that honour U+202E when they show the name",
        '; filename="ann\u202etxt.exe"'.encode(),
    ),
    ("right-to-left-end", "an override behind the extension", _WINDOWS, '; filename="run.exe\u202c"'.encode()),
    ("zero-width", "zero-width characters in the extension", NOT_VERIFIED, '; filename="run.e\u200bx\u200ce"'.encode()),
    ("soft-hyphen", "a soft hyphen in the extension", NOT_VERIFIED, '; filename="run.ex\u00ade"'.encode()),
    ("full-width-dot", "a full-width dot", NOT_VERIFIED, '; filename="run\uff0eexe"'.encode()),
    ("full-width-letters", "full-width letters", NOT_VERIFIED, '; filename="run.\uff45\uff58\uff45"'.encode()),
    ("one-dot-leader", "a one dot leader for the dot", NOT_VERIFIED, '; filename="run\u2024exe"'.encode()),
    ("trailing-dot", "a dot behind the extension", _WINDOWS, b'; filename="run.exe."'),
    ("trailing-dots-blanks", "dots and blanks behind the extension", _WINDOWS, b'; filename="run.exe . . "'),
    ("trailing-no-break", "a no-break space behind the extension", NOT_VERIFIED, '; filename="run.exe\u00a0"'.encode()),
    (
        "many-blanks",
        "a hundred blanks before the extension",
        "dialogs that show the beginning of a name only",
        b'; filename="letter.doc' + b" " * 100 + b'.exe"',
    ),
    ("alternate-stream", "the default stream of NTFS", _WINDOWS, b'; filename="run.exe::$DATA"'),
    ("named-stream", "a named stream of NTFS", _WINDOWS, b'; filename="run.exe:a.txt"'),
    ("path", "a path before the name", TOLERANT, b'; filename="../../a.txt/run.exe"'),
    ("windows-path", "a Windows path before the name", TOLERANT, b'; filename="C:\\\\a.txt\\\\run.exe"'),
    ("trailing-slash", "a slash behind the name", NOT_VERIFIED, b'; filename="run.exe/"'),
    ("nul", "NUL behind the extension, then a harmless one", "programs in C", b'; filename="run.exe\0.txt"'),
    ("nul-word", "NUL in an RFC 2047 word", "programs in C", b'; filename="=?utf-8?Q?run.exe=00.txt?="'),
    ("control", "control characters in the extension", NOT_VERIFIED, b'; filename="run.e\x01x\x02e"'),
    ("tab", "a tab before the end", _WINDOWS, b'; filename="run.exe\t"'),
    ("newline-word", "a line end in an RFC 2047 word", NOT_VERIFIED, b'; filename="=?utf-8?Q?run.exe=0D=0A?="'),
    ("long", "a name of 5,000 characters", TOLERANT, b'; filename="' + b"a" * 5000 + b'.exe"'),
    (
        "class-id",
        "a class identifier as extension",
        "Windows Explorer hides it",
        b'; filename="letter.txt.{00020C01-0000-0000-C000-000000000046}"',
    ),
    ("double", "two extensions", "Windows Explorer hides the last", b'; filename="letter.pdf.exe"'),
    ("screen-saver", "a screen saver is a program", "Windows", b'; filename="run.scr"'),
    ("script", "a script", "Windows", b'; filename="run.js"'),
    ("shortcut", "a shortcut", "Windows", b'; filename="run.lnk"'),
    ("folded", "the name is folded in the middle", TOLERANT, b'; filename="run\r\n .exe"'),
):
    _add(_name, _why, _client, _named(_parameter))

_add("type-only", "only the name of Content-Type", STANDARD, _named(b"", b"application/octet-stream; name=run.exe"))
_add(
    "type-2231",
    "only the name of Content-Type, in RFC 2231 pieces",
    _2231,
    _named(b"", b"application/octet-stream; name*0=run.; name*1=exe"),
)
_add(
    "type-beside",
    "the name of Content-Type differs",
    NOT_VERIFIED,
    _named(b"; filename=a.txt", b"application/octet-stream; name=run.exe"),
)
_add("x-parameter", "an odd spelling of the parameter", NOT_VERIFIED, _named(b"; file-name=run.exe; filename=run.exe"))
_add("capital-parameter", "FILENAME", STANDARD, _named(b"; FILENAME=run.exe"))
_add(
    "inline",
    "an inline part with the name of a program",
    TOLERANT,
    _named(b"").replace(b"attachment", b"inline; filename=run.exe"),
)
_add(
    "no-disposition-type",
    "Content-Disposition without a type",
    TOLERANT,
    _named(b"").replace(b"attachment", b"; filename=run.exe"),
)
_add(
    "many-parameters",
    "the name is behind 150 other parameters",
    NOT_VERIFIED,
    _named(b"".join(b"; x%d=y" % number for number in range(150)) + b"; filename=run.exe"),
)
_add(
    "many-names",
    "the last of fifty names, in a message within an archive",
    NOT_VERIFIED,
    carrying(
        zip_file({"a.eml": _named(b"".join(b"; filename=%d.txt" % n for n in range(49)) + b"; filename=run.exe")}),
        "a.zip",
    ),
)
_add(
    "too-many-names",
    "the name is behind more names than are looked at, though not more parameters",
    NOT_VERIFIED,
    _named(b'; filename="\\a.txt"' * 120 + b"; filename=run.exe"),
    UNCHECKED,
)
_add(
    "too-many-encoded-parameters",
    "the name is behind 300 other parameters, in a field that is encoded as a whole",
    NOT_VERIFIED,
    _named(b"").replace(
        b"attachment",
        b"=?us-ascii?B?%s?="
        % base64.b64encode(b"attachment" + b"".join(b"; x%d=y" % n for n in range(300)) + b"; filename=run.exe"),
    ),
    UNCHECKED,
)

CASES = tuple(_family.cases)
