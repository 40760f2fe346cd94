"""A network's way from its plan to C, and to a package on disk.

``bodies`` (a step's kernels), ``program`` (all of them decided, weights packed), ``text`` (the C),
``python`` (the module around it), ``build`` (to disk, verified).
"""
