"""Write what ``convgen bench --save benchmarks/results.json`` found where people read it.

    python benchmarks/publish.py

``benchmarks/results.md`` gets every peer's figures; the README, between its two marks, the best
peer's of each layer. The last step of ``make bench``; running it again changes nothing.
"""

from __future__ import annotations

from pathlib import Path

from convgen.bench.report import Report, read_report
from convgen.bench.tables import markdown, markdown_brief

HERE = Path(__file__).resolve().parent
RESULTS, PAGE, README = HERE / "results.json", HERE / "results.md", HERE.parent / "README.md"
BEGIN, END = "<!-- benchmark -->", "<!-- end of benchmark -->"


def page(report: Report) -> str:
    """The text of results.md."""
    title = "# convgen beside other runtimes\n\nMade by `make bench`; see [README.md](README.md)."
    return f"{title}\n\n{markdown(report)}"


def with_table(readme: str, report: Report) -> str:
    """The README with the table between its marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"the README lacks {BEGIN} or {END}"
    return f"{before}{BEGIN}\n{markdown_brief(report)}{END}{after}"


def main() -> None:
    report = read_report(str(RESULTS))
    PAGE.write_text(page(report), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8"), report), encoding="utf-8")


if __name__ == "__main__":
    main()
