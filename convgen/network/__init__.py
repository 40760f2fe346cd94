"""Networks: a graph of operators, its simplification, and the plan of its steps in memory.

Start with ``graph`` (what a network is), then ``ops`` (its vocabulary), ``fuse``, ``lower`` (nodes
to steps), ``layouts`` (memory order) and ``arena`` (where every buffer lies). README.md beside this
file is the page for people who write importers or kernels.
"""
