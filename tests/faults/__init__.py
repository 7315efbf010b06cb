"""What may go wrong does: at every step of the journey, and then sender's and recipients' views are compared.

The property, of every recipient of every message: copies that the next hop took, quarantine items, and bounces (a 5xx
told to the sender, or a report of ours that names the recipient) are one in sum. None is a loss and always fails. More
than one is a duplicate; :mod:`tests.faults.accounting` knows the few that DESIGN section 2 allows.

The cells are products of tables, in :mod:`tests.faults.cells` (a filter in this process, scripted peers) and in the
tests that need a real daemon (kill -9, full disk, a real Postfix). FAULTS=all runs every cell, otherwise a sample of
the slow ones; FAULTS_REPORT=FILE writes the summary as JSON.
"""
