"""Write what ``convgen bench --save benchmarks/results.json`` found where people read it.

    python benchmarks/publish.py

``benchmarks/results.md`` gets every peer's figures; the README, between its two marks, the best
peer's of each layer; ``results_int8.json`` its own page and marks, ``results_nchw.json`` and
``results_bf16.json`` a page. The last step of ``make bench``, ``bench8`` and ``bench16``; running
it again changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from convgen.bench.report import Report, read_report
from convgen.bench.tables import markdown, markdown_brief

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
RESULTS, PAGE = HERE / "results.json", HERE / "results.md"
NCHW_RESULTS, NCHW_PAGE = HERE / "results_nchw.json", HERE / "results_nchw.md"
INT8_RESULTS, INT8_PAGE = HERE / "results_int8.json", HERE / "results_int8.md"
BF16_RESULTS, BF16_PAGE = HERE / "results_bf16.json", HERE / "results_bf16.md"
BEGIN, END = "<!-- benchmark -->", "<!-- end of benchmark -->"
INT8_BEGIN, INT8_END = "<!-- benchmark of int8 -->", "<!-- end of benchmark of int8 -->"
INT8_HEAD = """\
The same layers in int8 ([benchmarks/layers_int8.yaml](benchmarks/layers_int8.yaml): a scale for
each filter, zero points, `rounding: onnx`), measured by `make bench8`; `benchmarks/results_int8.md`
has every peer's figures.

"""


def page(report: Report) -> str:
    """The text of results.md."""
    return f"{_title('convgen beside other runtimes', 'make bench')}\n\n{markdown(report)}"


def nchw_page(report: Report) -> str:
    """The text of results_nchw.md."""
    title = _title("convgen beside other runtimes, NCHW", "make bench-nchw")
    return f"{title}\n\n{markdown(report)}"


def int8_page(report: Report) -> str:
    """The text of results_int8.md."""
    title = _title("convgen beside other runtimes, int8", "make bench8")
    return f"{title}\n\n{markdown(report)}"


def bf16_page(report: Report) -> str:
    """The text of results_bf16.md."""
    title = _title("convgen beside PyTorch, bfloat16", "make bench16")
    return f"{title}\n\n{markdown(report)}"


def _title(title: str, command: str) -> str:
    return f"# {title}\n\nMade by `{command}`; see [README.md](README.md)."


def with_table(readme: str, report: Report) -> str:
    """The README with the table between its marks."""
    return _between(readme, BEGIN, END, markdown_brief(report))


def with_int8_table(readme: str, report: Report) -> str:
    """The README with the table of 8-bit layers between its marks."""
    return _between(readme, INT8_BEGIN, INT8_END, INT8_HEAD + markdown_brief(report))


def _between(readme: str, begin: str, end: str, text: str) -> str:
    before, first, rest = readme.partition(begin)
    _, last, after = rest.partition(end)
    assert first and last, f"the README lacks {begin} or {end}"
    return f"{before}{begin}\n{text}{end}{after}"


def main() -> None:
    readme = README.read_text(encoding="utf-8")
    if RESULTS.exists():
        report = read_report(str(RESULTS))
        PAGE.write_text(page(report), encoding="utf-8")
        readme = with_table(readme, report)
    if NCHW_RESULTS.exists():
        NCHW_PAGE.write_text(nchw_page(read_report(str(NCHW_RESULTS))), encoding="utf-8")
    if INT8_RESULTS.exists():
        report = read_report(str(INT8_RESULTS))
        INT8_PAGE.write_text(int8_page(report), encoding="utf-8")
        readme = with_int8_table(readme, report)
    if BF16_RESULTS.exists():
        BF16_PAGE.write_text(bf16_page(read_report(str(BF16_RESULTS))), encoding="utf-8")
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
