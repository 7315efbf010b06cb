"""Every reply that we can give, in one table (RFC 5321 section 4.2, enhanced codes of RFC 3463).

Texts go out to strangers, so they hold no host names, paths or scanner details; those are for the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of an SMTP or LMTP dialog.

    code: the three digits; enhanced: "2.1.0", or "" where a peer gave none or the greeting has none;
    text: one line or several, separated by a newline.
    """

    code: int
    enhanced: str
    text: str

    @classmethod
    def of_peer(cls, code: int, text: str) -> Reply:
        """What a peer answered, its enhanced code told apart from the text."""
        lines = text.split("\n")
        match = _ENHANCED.match(lines[0])
        if match is None or match[1][0] != str(code)[0]:
            return cls(code, "", text)
        enhanced = match[1]
        bare = [line.removeprefix(enhanced).lstrip(" ") for line in lines]
        return cls(code, enhanced, "\n".join(bare))

    @property
    def positive(self) -> bool:
        """2xx or 3xx."""
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        """4xx: the sender keeps the message and tries again."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: the sender gives up and reports."""
        return self.code >= 500

    def saying(self, text: str) -> Reply:
        """The same codes with another text."""
        return replace(self, text=text)

    def lines(self) -> tuple[str, ...]:
        """The lines as they go over the wire, without line ends."""
        prefix = f"{self.enhanced} " if self.enhanced else ""
        texts = self.text.split("\n")
        last = len(texts) - 1
        return tuple(f"{self.code}{' ' if i == last else '-'}{prefix}{text}" for i, text in enumerate(texts))

    def __str__(self) -> str:
        words = (str(self.code), self.enhanced, " ".join(self.text.split("\n")))
        return " ".join(word for word in words if word)


# Verdicts.
DISCARDED = Reply(250, "2.7.0", "Ok, discarded")
QUARANTINED = Reply(250, "2.7.0", "Ok, quarantined")
REJECTED = Reply(554, "5.7.0", "Refused by policy")
REJECTED_VIRUS = Reply(554, "5.7.0", "Refused: the message contains a virus")
REJECTED_BANNED = Reply(554, "5.7.0", "Refused: the message contains an attachment of a kind that is not accepted here")
REJECTED_RULE = Reply(550, "5.7.1", "Refused: the message content is not accepted here")
REJECTED_UNCHECKED = Reply(554, "5.7.0", "Refused: the message holds content that cannot be inspected")
REJECTED_SPAM = Reply(554, "5.7.0", "Refused: the message looks like spam")
REJECTED_BAD_HEADER = Reply(554, "5.6.0", "Refused: the message header is not well formed")
REJECTED_OVERSIZED = Reply(552, "5.3.4", "Refused: the message is larger than this recipient accepts")
DEFERRED = Reply(451, "4.7.0", "Deferred by policy, try again later")

# What went wrong on the way.
MIXED_DEFERRAL = Reply(451, "4.5.0", "Not all recipients could be served, try again later")
INTERNAL = Reply(451, "4.3.0", "Temporary failure in the content filter, try again later")
SCANNER_FAILED = Reply(451, "4.3.5", "Content could not be inspected now, try again later")
BUSY = Reply(451, "4.3.2", "The content filter is busy, try again later")
STORAGE_FAILED = Reply(452, "4.3.1", "Insufficient storage in the content filter, try again later")
POLICY_FAILED = Reply(451, "4.3.5", "Recipient settings could not be read, try again later")
MAIL_LOOP = Reply(554, "5.4.6", "Mail loop: too many hops")
NEXT_HOP_UNREACHABLE = Reply(451, "4.4.1", "The next hop does not answer, try again later")
NEXT_HOP_LOST = Reply(451, "4.4.2", "The connection to the next hop was lost, try again later")
NEXT_HOP_CONFUSED = Reply(451, "4.5.0", "The next hop gave an answer that makes no sense, try again later")
NEXT_HOP_NO_SMTPUTF8 = Reply(554, "5.6.7", "The next hop does not accept internationalized mail")
NEXT_HOP_NO_8BITMIME = Reply(554, "5.6.3", "The next hop does not accept 8-bit content")

# The dialog. GREETING and HELLO get the host's name in front of or as their text.
GREETING = Reply(220, "", "ready")
HELLO = Reply(250, "", "")
START_DATA = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
GOODBYE = Reply(221, "2.0.0", "Bye")
HELP = Reply(214, "2.0.0", "SMTP and LMTP of RFC 5321 and RFC 2033, with XFORWARD as Postfix has it")
CANNOT_VERIFY = Reply(252, "2.5.2", "Cannot verify, but will take the message and attempt delivery")
ACCESS_DENIED = Reply(554, "5.7.1", "Access denied")
TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", "Too many connections, try again later")
SHUTTING_DOWN = Reply(421, "4.3.2", "The service is shutting down, try again later")
COMMAND_TIMEOUT = Reply(421, "4.4.2", "Timeout, closing the connection")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing the connection")
COMMAND_UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
COMMAND_TOO_LONG = Reply(500, "5.5.2", "Command line too long")
COMMAND_BINARY = Reply(500, "5.5.2", "Command lines cannot hold NUL or a bare CR")
BARE_NEWLINE = Reply(521, "5.5.2", "Lines must end in CR LF, closing the connection")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
SYNTAX_HELLO = Reply(501, "5.5.4", "Syntax: EHLO, HELO or LHLO, and the name of the host")
SYNTAX_MAIL = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> and parameters")
SYNTAX_RCPT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> and parameters")
SYNTAX_VRFY = Reply(501, "5.5.4", "Syntax: VRFY and an address")
SYNTAX_NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
SYNTAX_XFORWARD = Reply(501, "5.5.4", "Syntax: XFORWARD and NAME=value pairs, of the names that EHLO told")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad parameter value")
REPEATED_PARAMETER = Reply(501, "5.5.4", "Parameter given more than once")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized")
HELLO_FIRST = Reply(503, "5.5.1", "Send EHLO, HELO or LHLO first")
HELLO_MISMATCH = Reply(503, "5.5.1", "SMTP and LMTP cannot be mixed in one session")
NESTED_MAIL = Reply(503, "5.5.1", "Nested MAIL command")
MAIL_FIRST = Reply(503, "5.5.1", "Send MAIL first")
RCPT_FIRST = Reply(503, "5.5.1", "No valid recipients")
IN_TRANSACTION = Reply(503, "5.5.1", "Not inside a mail transaction")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
MESSAGE_TOO_LARGE = Reply(552, "5.3.4", "The message is larger than the fixed maximum size")
