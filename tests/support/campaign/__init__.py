"""Differential testing at scale: random layers, each built some random way, against the oracle.

    grid     a number -> a case: layer, target, schedule, body, compiler
    trial    cases -> C, several files a compiler call -> the verification ladder in a child
    shrink   a case that fails -> the least one that still does
    store    what was tried, in SQLite, so that a campaign goes on where it was stopped
    session  numbers dealt out to worker processes

``PYTHONPATH=tests/support python -m campaign --help`` runs it; ``make campaign`` does so at full
length.
"""
