"""Rewriting a graph: one module a family of rules, all of them over ``draft.Draft``."""
