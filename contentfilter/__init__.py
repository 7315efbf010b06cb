"""An after-queue content filter for Postfix.

    internet -> Postfix smtpd -> queue -> scan transport --XFORWARD--> contentfilter :10025
                                                                         decompose, inspect, decide per recipient
             mailbox <- queue <- Postfix smtpd :10026 <--XFORWARD------- reinject   (or quarantine / reject / defer)

The journey of one message, as :mod:`contentfilter.pipeline` calls it:

    1  hop count and size              6  a quarantine copy where a policy asks for one
    2  each recipient's policy         7  recipients grouped by what their copy looks like
    3  parts, in every reading         8  each group to the next hop
    4  inspectors, all at once         9  reports and notices, which never change a reply
    5  a verdict for each recipient   10  the log line          11  one reply per recipient

The promise: 250 means safe elsewhere; unclear means 4xx; 5xx only where policy or the next hop says so; header fields
never claim what did not happen; the body passes byte for byte; hostile input costs a bounded amount; twice rather than
lost, and not even twice where a retry can be recognised.

Words:

    client      the remote host that XFORWARD tells of, not the Postfix that talks to us (that is the peer)
    next hop    where we reinject
    part        a node of the message's tree: a MIME entity, an attached message
    member      what lies in a container; opened in the box, a process that can do nothing else
    sign        active content, such as a macro: a fact for rules, by itself nothing against the message
    reading     one way of understanding an ambiguous message; a part may exist in one reading only
    finding     a fact that an inspector reports: kind, name, score, the part it is about
    evidence    all findings about a message; its grounds: what of them concerns one recipient
    inspector   whoever looks: clamd, spamd, Rspamd, banned names and types, local rules, header syntax
    category    virus > banned > rule > unchecked > spam > spammy > bad_header > oversized > clean, gravest first
    entry       what a source of policies holds under one key: some settings, perhaps until a date
    list        senders and clients that a recipient, a domain or the site allows, denies or scores
    bank        settings laid over everybody's policy for mail that comes a certain way
    policy      one recipient's settings, after lookup
    lover       a recipient who gets mail of a category all the same, marked
    rule        a line of a local table in the format of header_checks(5)
    set         ordered rules for attachments, by name
    verdict     per recipient: category, action, fields to add, quarantine or not, reply, route
    route       where a copy goes: next hop, address extension, redirect, BCC
    shadow      what would have been done, logged and not done
    action      pass, discard, reject, defer
    unchecked   we could not look inside
    attempt     one coming of a message; a retry is the next one, with the same bytes, sender and queue id
    ledger      who is served already of a message that comes again, and which messages did us harm
    poison      a message that did harm again and again, and is set apart
    slot        the right of one message to be worked on; so many at a time
    release     to let a quarantined message go to those from whom it was withheld

Followed: RFC 5321 (SMTP), 2033 (LMTP), 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461 (DSN),
3463 and 2034 (enhanced status codes), 3464 and 6533 (reports), 5322, 2045-2047, 2183, 2231; Postfix's XFORWARD.

Known deviations: a bare LF in a message becomes CRLF, as Postfix itself does it. Where the next hop does not offer DSN,
NOTIFY=SUCCESS is dropped without the "relayed" report of RFC 3461 section 5.2.2. Neither BINARYMIME nor CHUNKING.
"""
