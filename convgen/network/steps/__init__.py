"""Nodes to steps, a module for each kind of operator; ``work`` is what they share."""
