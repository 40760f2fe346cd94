"""The C compiler: find it, describe it, run it within a time limit, keep what it said."""

from __future__ import annotations

from convgen.toolchain.command import Finished, Processes, Stopped, awaited, shell_line
from convgen.toolchain.compile import (
    COMPILE_FLAGS,
    TIMEOUT,
    Compiled,
    Unit,
    compile_object,
    compile_shared,
    link_flags,
)
from convgen.toolchain.compiler import Compiler, CompilerKind, find_compiler, slow_start
from convgen.toolchain.sections import Sections, code_size, sections
from convgen.toolchain.stack import Stack, read_stack, stack_flags

__all__ = [
    "COMPILE_FLAGS",
    "TIMEOUT",
    "Compiled",
    "Compiler",
    "CompilerKind",
    "Finished",
    "Processes",
    "Sections",
    "Stack",
    "Stopped",
    "Unit",
    "awaited",
    "code_size",
    "compile_object",
    "compile_shared",
    "find_compiler",
    "link_flags",
    "read_stack",
    "sections",
    "shell_line",
    "slow_start",
    "stack_flags",
]
