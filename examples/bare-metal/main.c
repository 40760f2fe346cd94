/*
 * A layer on a microcontroller without an operating system: finds the knock in a made-up recording.
 * Returns 0 when it is found where it was put. All memory is static; nothing here needs a heap.
 */
#include <stddef.h>

#include "knock.h"

#ifdef TALK
#include <stdio.h>
#else
#define printf(...) ((void)0)
#endif

enum { WHERE = 40 }; /* the sample at which the knock begins */

static float samples[KNOCK_H * KNOCK_W * KNOCK_C];
static float found[KNOCK_OH * KNOCK_OW * KNOCK_OC];
static unsigned char packed[KNOCK_PACKED_BYTES] __attribute__((aligned(KNOCK_ALIGN)));
#if KNOCK_WORKSPACE_BYTES > 0
static unsigned char workspace[KNOCK_WORKSPACE_BYTES] __attribute__((aligned(KNOCK_ALIGN)));
#else
static unsigned char *const workspace = NULL;
#endif

/* [kh][kw][ic][oc]: the last two samples of a window against its first two, on each axis. */
static float weights[KNOCK_KH * KNOCK_KW * KNOCK_C * KNOCK_OC];

static void set_weights(void)
{
  for (int tap = 0; tap < KNOCK_KH; ++tap) {
    for (int axis = 0; axis < KNOCK_C; ++axis) {
      float *const both = weights + (tap * KNOCK_C + axis) * KNOCK_OC;
      both[0] = tap < KNOCK_KH / 2 ? -0.5f : 0.5f;
      both[1] = -both[0];
    }
  }
}

static void record(void)
{
  unsigned noise = 1;
  for (int t = 0; t < KNOCK_H; ++t) {
    for (int axis = 0; axis < KNOCK_C; ++axis) {
      noise = noise * 1664525u + 1013904223u;
      samples[t * KNOCK_C + axis] = (float)(noise >> 24) / 1024.0f + (t >= WHERE ? 1.0f : 0.0f);
    }
  }
}

int main(void)
{
  int best = 0;
  set_weights();
  record();
  if (knock_pack(weights, NULL, packed) != 0) return 1;
  knock_run(samples, packed, found, workspace);
  for (int row = 1; row < KNOCK_OH; ++row) {
    if (found[row * KNOCK_OC] > found[best * KNOCK_OC]) best = row;
  }
  printf("a knock at sample %d\n", best + KNOCK_KH / 2);
  return best + KNOCK_KH / 2 == WHERE ? 0 : 2;
}
