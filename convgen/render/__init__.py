"""Render: a KernelPlan through the templates to C text. No decision is taken here, only wording."""
