"""From texts to build/<name>/: compiled, verified, committed whole or not at all, and cached."""
