"""C with every operation of an instruction set as a function over arrays."""

from __future__ import annotations

from convgen.target.isa import VectorIsa

COUNT = 4096

SOURCE = """\
#include <stddef.h>
#include <stdint.h>
#include <string.h>
@include
typedef @ctype @v;
@operations
#define EACH for (int i = 0; i < count; i += @lanes)
#define A @v_load(a + i)
#define B @v_load(b + i)
#define C @v_load(c + i)
#define PARAMETERS const float *a, const float *b, const float *c, float *y, int count
#define RUN(name, expression) \\
  @attribute void @side_##name(PARAMETERS); \\
  @attribute void @side_##name(PARAMETERS) \\
  { (void)b; (void)c; EACH @v_store(y + i, expression); }
RUN(add, @v_add(A, B))
RUN(sub, @v_sub(A, B))
RUN(mul, @v_mul(A, B))
RUN(div, @v_div(A, B))
RUN(max, @v_max(A, B))
RUN(min, @v_min(A, B))
RUN(fma, @v_fma(A, B, C))
RUN(set1, @v_set1(a[i]))
RUN(exp2i, @v_exp2i(A))
RUN(load, A)
@spreads@pairs@parts
"""
JOIN = "RUN(join_@n, @v_join(A, B, @n))\n"
ALTERNATE = "RUN(evens, @v_evens(A, B))\nRUN(odds, @v_odds(A, B))\n"
PICK = """\
#define TABLE const float *a, const float *b, const int32_t *from, float *y, int count
@attribute void @side_pick(TABLE);
@attribute void @side_pick(TABLE)
{ EACH @v_store(y + i, @v_pick(A, B, from + i)); }
#undef TABLE
"""
TRANSPOSE = """\
@attribute void @side_transpose(const float *p, ptrdiff_t step, float *q, ptrdiff_t to);
@attribute void @side_transpose(const float *p, ptrdiff_t step, float *q, ptrdiff_t to)
{ @v_transpose(p, step, q, to); }
"""
PART = """
RUN(load_part_@n, @v_load_part(a + i, @n))
@attribute void @side_store_part_@n(const float *a, float *y);
@attribute void @side_store_part_@n(const float *a, float *y) { @v_store_part(y, @v_load(a), @n); }
@attribute void @side_read_part_@n(const float *a, float *y);
@attribute void @side_read_part_@n(const float *a, float *y) { @v_store(y, @v_load_part(a, @n)); }
"""


def source(isa: VectorIsa, side: str) -> str:
    """Every operation of one instruction set as functions over arrays, named for their side."""
    attribute = f"__attribute__(({isa.attribute}))" if isa.attribute else ""
    operations = "\n".join(
        f"{attribute} static inline {op.result} {isa.prefix}_{op.name}({op.params})\n"
        f"{{\n  {op.body}\n}}"
        for op in isa.operations
    )
    spread = "".join(f"RUN({name}, @v_{name}(A))\n" for name in spreads(isa))
    pairs = "".join(JOIN.replace("@n", str(n)) for n in parts(isa)) if isa.has("join") else ""
    pairs += PICK if isa.has("pick") else ""
    pairs += ALTERNATE if isa.has("evens") else ""
    pairs += TRANSPOSE if isa.has("transpose") else ""
    text = SOURCE.replace("@spreads", spread).replace("@pairs", pairs)
    text = text.replace("@parts", "".join(PART.replace("@n", str(n)) for n in parts(isa)))
    for mark, value in {
        "@include": f"#include <{isa.header}>" if isa.header else "",
        "@operations": operations,
        "@attribute": attribute,
        "@ctype": isa.ctype,
        "@lanes": str(isa.lanes),
        "@side": side,
        "@v": isa.prefix,
    }.items():
        text = text.replace(mark, value)
    return text


def spreads(isa: VectorIsa) -> list[str]:
    return [op.name for op in isa.operations if op.name.startswith("spread_")]


def parts(isa: VectorIsa) -> range:
    """A partial vector has at least one lane and never all of them."""
    return range(1, isa.lanes) if isa.lanes > 1 else range(1, 2)
