"""The soak: mixed mail at full load for a long time, with faults everywhere, and every recipient accounted for.

`make soak MINUTES=10 SEED=1`. A real daemon and a real clamd stand between a sender that tries again as Postfix would
(`sender`) and a next hop that faults at random (`hop`); `trouble` kills and reloads, `watch` looks at memory,
descriptors and processes, and `account` says in the end what became of each recipient of each message.
"""
