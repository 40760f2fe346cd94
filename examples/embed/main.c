/*
 * Two generated layers in one C program: `edges` finds where a picture gets brighter or darker,
 * `outline` adds that up in cells of 4x2 pixels. Prints the outline of a disc.
 *
 *   embed          prints
 *   embed FILE     prints, and writes the outline's floats to FILE
 */
#include <stdio.h>

#include "edges.h"
#include "outline.h"

#if EDGES_OH != OUTLINE_H || EDGES_OW != OUTLINE_W || EDGES_OC != OUTLINE_C
#error "the output of edges is not the input of outline"
#endif

/* Sizes are known before the program runs: nothing is allocated. */
static float picture[EDGES_H * EDGES_W * EDGES_C];
static float weights[EDGES_KH * EDGES_KW * EDGES_C * EDGES_OC];
static float packed[EDGES_PACKED_BYTES / sizeof(float)];
static float gradients[EDGES_OH * EDGES_OW * EDGES_OC];
static float outline[OUTLINE_OH * OUTLINE_OW * OUTLINE_OC];

/* Scratch space of a call, 0 bytes for most layers. Nothing stays in it: one serves both layers. */
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
static float workspace[LARGER(EDGES_WORKSPACE_BYTES, OUTLINE_WORKSPACE_BYTES) / sizeof(float) + 1];

static void draw_disc(void)
{
  const int size = 48; /* its diameter in pixels; below, everything counts half pixels */
  for (int row = 0; row < EDGES_H; ++row) {
    for (int col = 0; col < EDGES_W; ++col) {
      const int y = 2 * row + 1 - EDGES_H, x = 2 * col + 1 - EDGES_W;
      picture[row * EDGES_W + col] = x * x + y * y < size * size ? 1.0f : 0.0f;
    }
  }
}

/* Weights lie as the spec says: [kh][kw][ic][oc]. */
static void set_weights(void)
{
  for (int kh = 0; kh < EDGES_KH; ++kh) {
    for (int kw = 0; kw < EDGES_KW; ++kw) {
      float *const tap = weights + (kh * EDGES_KW + kw) * EDGES_OC;
      const float across = (float)(kw - 1), down = (float)(kh - 1);
      tap[0] = across;
      tap[1] = -across;
      tap[2] = down;
      tap[3] = -down;
    }
  }
}

static void print_outline(void)
{
  static const char shades[] = " .:-=+*#%@";
  for (int row = 0; row < OUTLINE_OH; ++row) {
    for (int col = 0; col < OUTLINE_OW; ++col) {
      putchar(shades[(int)(outline[row * OUTLINE_OW + col] * 9.0f + 0.5f)]);
    }
    putchar('\n');
  }
}

static int write_floats(const char *path)
{
  FILE *const file = fopen(path, "wb");
  if (file == NULL) return 0;
  const size_t count = sizeof outline / sizeof outline[0];
  const int whole = fwrite(outline, sizeof outline[0], count, file) == count;
  return fclose(file) == 0 && whole;
}

int main(int argc, char **argv)
{
  if (!edges_cpu_ok() || !outline_cpu_ok()) {
    fputs("this CPU lacks instructions that the layers were generated for\n", stderr);
    return 1;
  }
  draw_disc();
  set_weights();
  edges_pack(weights, NULL, packed); /* once for a set of weights */

  edges_run(picture, packed, gradients, workspace);
  outline_run(gradients, outline_packed, outline, workspace); /* its weights are built in */

  print_outline();
  if (argc > 1 && !write_floats(argv[1])) {
    fprintf(stderr, "cannot write %s\n", argv[1]);
    return 1;
  }
  return 0;
}
