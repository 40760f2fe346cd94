"""The choice of a schedule: candidates of every family, their predicted costs, limits on size."""
