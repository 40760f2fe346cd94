"""Speed, measured: convgen's kernels beside what users would take instead, in one run."""
