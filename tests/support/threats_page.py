"""The threat list: what can go wrong, what happens then, and which tests show it.

``docs/threats.md`` is made from it; tests/package/test_threats.py holds it to the tests that there
are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import TESTS

PAGE = TESTS.parent / "docs" / "threats.md"


@dataclass(frozen=True)
class Threat:
    """``shown``: "module::function" or "module::Class::function", without .py; or "bad_specs/x",
    a spec whose message is on file."""

    what: str
    then: str
    shown: tuple[str, ...]


THREATS: dict[str, tuple[Threat, ...]] = {
    "Specs": (
        Threat(
            "YAML bombs: aliases, nesting, endless scalars, thousands of keys",
            "a located error, in bounded time and memory",
            ("test_threats::test_threat_yaml_bomb", "bad_specs/e008_too_deep",
             "bad_specs/e009_alias_bomb", "bad_specs/e014_endless_number",
             "test_spec_nodes::test_thousands_of_aliases_are_one_mistake"),
        ),
        Threat(
            "Duplicate keys, an alias beside its key, merge keys, tags",
            "a located error",
            ("bad_specs/e012_duplicate_key", "bad_specs/e102_two_aliases",
             "bad_specs/e010_merge_key", "bad_specs/e011_python_tag"),
        ),
        Threat(
            "YAML 1.1 surprises: `no`, `017`, `0x3`, `1_0`, `12:30`",
            "refused where a number belongs, never guessed",
            ("test_spec_nodes::test_disputed", "bad_specs/e111_no_as_bool",
             "bad_specs/e111_octal", "bad_specs/e111_base_sixty", "bad_specs/e112_true_stride"),
        ),
        Threat(
            "Absurd sizes: 10^9 elements, indices that overflow",
            "a located error before anything is allocated; sums are exact integers",
            ("test_threats::test_threat_absurd_sizes",
             "test_spec_geometry::test_limits_of_each_array",
             "test_spec_geometry::test_padded_size_is_limited_too",
             "test_spec_geometry::test_macs_limit"),
        ),
        Threat(
            "Hostile names: keywords, paths, C and template code",
            "a located error with a good name beside it",
            ("test_spec_names::test_bad", "test_threats::test_threat_hostile_default_name",
             "bad_specs/e130_path_as_name", "bad_specs/e130_code_as_name",
             "bad_specs/e130_template_as_name", "bad_specs/e131_c_keyword"),
        ),
        Threat(
            "Hostile file and folder names: shell, C comments, template code",
            "they reach no generated text and no shell",
            ("test_threats::test_threat_hostile_paths_reach_nothing",),
        ),
        Threat(
            "Random text and random mappings",
            "a located error or a layer, nothing else",
            ("test_spec_random::test_random_text", "test_spec_random::test_random_mapping"),
        ),
    ),
    "Weights": (
        Threat(
            "Wrong shape, dtype, byte order; NaN and infinity",
            "a located error that names what was expected",
            ("test_spec_weights::TestFiles::test_wrong_arrays",
             "test_threats::test_threat_weights_that_are_not_finite"),
        ),
        Threat(
            "Pickles",
            "never run: a located error",
            ("test_spec_weights::TestFiles::test_pickle_is_never_run",),
        ),
        Threat(
            "Truncated, damaged and hostile files, archives that unpack to gigabytes",
            "a located error; only as much as is due is read",
            ("test_spec_weights::TestFiles::test_truncated_npy",
             "test_spec_weights::TestFiles::test_truncated_npz",
             "test_spec_weights::TestFiles::test_flipped_bits_in_an_npz",
             "test_spec_weights::TestFiles::test_hostile_headers",
             "test_spec_weights::TestFiles::test_bomb_is_not_unpacked"),
        ),
    ),
    "Compiler": (
        Threat(
            "Missing",
            "exit 3 with what to install",
            ("test_toolchain::test_threat_compiler_missing",
             "test_library::test_threat_compiler_missing"),
        ),
        Threat(
            "Failing, crashing, writing garbage or nothing, printing without end",
            "exit 3 or 4 with its command, the C kept; the earlier package stays",
            ("test_faults::test_threat_compiler_that",
             "test_library::test_threat_compiler_failing_keeps_the_earlier_build_and_the_c",
             "test_library::test_mismatch_keeps_the_earlier_build"),
        ),
        Threat(
            "Hanging",
            "killed at the time limit with all its children, exit 3",
            ("test_toolchain::test_threat_compiler_hanging_is_killed_with_its_children",
             "test_library::test_threat_compiler_hanging"),
        ),
    ),
    "Disks": (
        Threat(
            "Full, at any write",
            "exit 2 or 3 that says so; the earlier package stays; a full cache is a warning",
            ("test_faults::test_threat_disk_full_of_a_small_tmpfs",
             "test_commit::test_threat_disk_full_at_any_write",
             "test_toolchain::test_threat_disk_full_in_the_compiler",
             "test_cache::test_threat_cache_disk_full"),
        ),
        Threat(
            "Read-only output folder",
            "exit 2 that names `-o`; a package that is up to date is still found",
            ("test_faults::test_threat_read_only_output_and_cache",
             "test_commit::test_threat_read_only_output_folder",
             "test_commit::test_threat_output_folder_that_cannot_be_written"),
        ),
        Threat(
            "Read-only cache",
            "read as far as it goes; a warning, and the package is built",
            ("test_faults::test_threat_read_only_output_and_cache",
             "test_cache::test_threat_cache_folder_that_cannot_be_written"),
        ),
    ),
    "Interrupted": (
        Threat(
            "SIGKILL at any moment of a build",
            "the earlier package or the new one imports; the next build sweeps what was left",
            ("test_faults::test_threat_killed_at_random_moments",
             "test_faults::test_threat_killed_at_random_moments_of_200_builds",
             "test_commit::test_threat_killed_between_any_two_renames"),
        ),
        Threat(
            "SIGTERM in each stage of a build",
            "exit 143 at once; compilers and verification end with it, nothing stays behind",
            ("test_faults::test_threat_sigterm_in_each_stage",),
        ),
        Threat(
            "Ctrl-C in a build",
            "exit 130; compilers end with it, earlier packages stay",
            ("test_build::test_threat_ctrl_c_ends_the_compilers_and_keeps_earlier_builds",
             "test_cli_process::test_an_interrupted_build_leaves_nothing_half_done",
             "test_verify_child::test_ctrl_c_ends_a_kernel_that_never_ends"),
        ),
        Threat(
            "Ctrl-C or SIGKILL in a tune",
            "what was measured is stored, and the next run goes on from there",
            ("test_tune_cli::test_threat_ended_while_measuring",
             "test_faults::test_threat_ctrl_c_in_a_tune_that_compiles",
             "test_tune_store::test_threat_killed_while_writing"),
        ),
    ),
    "At once": (
        Threat(
            "Several builds of one layer",
            "one builds, the others wait and find it done; one whole package",
            ("test_faults::test_threat_sixteen_builds_of_one_layer_at_once",
             "test_build::test_threat_two_builds_of_one_layer_at_once"),
        ),
        Threat(
            "Several tunes",
            "they store side by side, and measure in turn",
            ("test_tune_store::test_threat_processes_write_at_once",
             "test_tune::test_tuners_measure_in_turn"),
        ),
    ),
    "Stale": (
        Threat(
            "Cache of another version of convgen, another compiler, another CPU",
            "built anew",
            ("test_layer::test_threat_stale_cache_after_an_upgrade",
             "test_layer::test_threat_stale_cache_after_a_cpu_change",
             "test_faults::test_threat_cache_from_another_cpu",
             "test_layer::test_a_changed_template_builds_anew",
             "test_layer::test_a_changed_input_builds_anew"),
        ),
        Threat(
            "A damaged cache entry, or one of another layer",
            "noticed by its checksum, removed, built anew",
            ("test_cache::test_threat_damaged_cache_entry_is_noticed_and_rebuilt",
             "test_cache::test_threat_a_cache_entry_under_another_name"),
        ),
        Threat(
            "A header beside the C of another run",
            "the compiler stops with a message",
            ("test_emit::test_a_header_of_another_run_is_refused",),
        ),
        Threat(
            "A package on a CPU without its instructions",
            "ImportError that names them, never SIGILL",
            ("test_package::test_threat_cpu_without_the_instructions",),
        ),
    ),
    "Model files": (
        Threat(
            "Truncated and damaged files, files of another kind, pickles",
            "a typed error; 2,000 damaged files a push, 50,000 by `make hostile`",
            ("test_import_hostile::test_a_truncated_file",
             "test_import_hostile::test_a_file_that_is_something_else",
             "test_import_hostile::test_thousands_of_damaged_files"),
        ),
        Threat(
            "Nodes in a circle, tensors made twice or by nobody",
            "a typed error that names the nodes",
            ("test_import_hostile::test_nodes_in_a_circle",
             "test_import_hostile::test_tensors_that_nobody_makes_or_two_make"),
        ),
        Threat(
            "Absurd shapes, wrong types, attributes of the wrong kind",
            "each node that cannot be taken is named, with its operator, reason and advice",
            ("test_import_hostile::test_absurd_sizes", "test_import_hostile::test_wrong_types",
             "test_import_hostile::test_attributes_of_the_wrong_kind"),
        ),
        Threat(
            "Unknown operators, operator sets and attributes",
            "all of them at once; never overlooked",
            ("test_import_hostile::test_unknown_operators_and_operator_sets",
             "test_import_onnx::test_an_attribute_that_nobody_knows_is_not_overlooked",
             "test_import_tflite::test_what_cannot_be_taken_is_told_at_once"),
        ),
        Threat(
            "Hostile names: quotes, slashes, control characters, template code",
            "any text is a name; messages show it escaped and cut",
            ("test_import_onnx::test_any_text_is_a_name",
             "test_import_hostile::test_names_are_shown_escaped_and_cut"),
        ),
        Threat(
            "Weights outside the model's folder: `..`, absolute paths, links, pipes",
            "a typed error; the file is not opened",
            ("test_import_hostile::test_weights_outside_the_folder_are_not_opened",
             "test_import_hostile::test_weights_at_the_wrong_place"),
        ),
        Threat(
            "Files made to exhaust or crash their reader",
            "a process of its own, with bounds of memory and time; its death is a typed error",
            ("test_import_child::test_memory_is_bounded",
             "test_import_child::test_time_is_bounded",
             "test_import_child::test_a_crash_of_the_reader_is_an_error_of_the_file",
             "test_import_child::test_an_answer_that_is_none_is_not_taken"),
        ),
    ),
    "Arrays and threads": (
        Threat(
            "Wrong dtype, shape, order, alignment, byte order, size zero, a subclass",
            "TypeError or ValueError that says what was expected and what came",
            ("test_package_arrays::test_threat_array", "test_package_arrays::test_threat_out"),
        ),
        Threat(
            "Read-only or overlapping output",
            "ValueError; nothing is written",
            ("test_package_arrays::test_threat_read_only_out",
             "test_package_arrays::test_threat_overlap",
             "test_package_arrays::test_threat_out_overlaps_the_weights"),
        ),
        Threat(
            "Many threads, many callers",
            "the same bits",
            ("test_package_threads::test_threat_threads_any_number_gives_the_same_bits",
             "test_package_threads::test_threat_threads_many_callers_at_once"),
        ),
        Threat(
            "fork while threads are at work",
            "the child computes with threads of its own",
            ("test_package_threads::test_threat_fork_while_the_pool_is_busy",),
        ),
    ),
}  # fmt: skip

HEAD = """# Threats

What can go wrong around convgen, what happens then, and which tests show it. Each ends in a clear
error, and nothing that was good before is lost. (Made by
tests/support/threats_page.py; a test holds it to the tests that there are. `bad_specs/` are specs
whose messages are on file in tests/.)
"""


def page() -> str:
    parts = [HEAD]
    for group, threats in THREATS.items():
        parts.append(f"\n## {group}\n\n| what | then | shown by |\n|---|---|---|\n")
        for threat in threats:
            shown = "<br>".join(f"`{name}`" for name in threat.shown)
            parts.append(f"| {threat.what} | {threat.then} | {shown} |\n")
    return "".join(parts)


def found_in(module: Path) -> Iterator[str]:
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) if name.startswith("test_"):
                yield f"{module.stem}::{name}"
            case ast.ClassDef(name=owner, body=body):
                functions = (f for f in body if isinstance(f, ast.FunctionDef))
                yield from (f"{module.stem}::{owner}::{f.name}" for f in functions)
