/*
 * A WebAssembly program around one layer: reads an image (binary PPM, 72x48) from standard input,
 * filters it, writes a PPM to standard output. It runs wherever WASI does.
 *
 * For a page or another host there is filter_image(): its arrays lie in the module's memory, at the
 * addresses that image_in() and image_out() give.
 */
#include <stdio.h>

#include "emboss.h"

static float image[EMBOSS_H * EMBOSS_W * EMBOSS_C];
static float filtered[EMBOSS_OH * EMBOSS_OW * EMBOSS_OC];
static unsigned char packed[EMBOSS_PACKED_BYTES] __attribute__((aligned(EMBOSS_ALIGN)));
static unsigned char workspace[EMBOSS_WORKSPACE_BYTES + 1] __attribute__((aligned(EMBOSS_ALIGN)));

__attribute__((export_name("image_in"))) float *image_in(void)
{
  return image;
}

__attribute__((export_name("image_out"))) float *image_out(void)
{
  return filtered;
}

/* image_out() = the layer of image_in(): red, green, blue and opacity from 0 to 1, by rows. */
__attribute__((export_name("filter_image"))) void filter_image(void)
{
  static const float light[9] = { -2, -1, 0, -1, 0, 1, 0, 1, 2 };
  static const float bias[4] = { 0.5f, 0.5f, 0.5f, 0.0f };
  static float weights[EMBOSS_KH * EMBOSS_KW * EMBOSS_OC]; /* [kh][kw][1][channel] */
  for (int tap = 0; tap < 9; ++tap) {
    for (int colour = 0; colour < 3; ++colour) weights[tap * 4 + colour] = light[tap];
    weights[tap * 4 + 3] = tap == 4 ? 1.0f : 0.0f; /* opacity stays */
  }
  emboss_pack(weights, bias, packed);
  emboss_run(image, packed, filtered, workspace);
}

int main(void)
{
  int width, height, most;
  if (scanf("P6 %d %d %d%*1[ \n\t]", &width, &height, &most) != 3) {
    fputs("standard input is no binary PPM\n", stderr);
    return 1;
  }
  if (width != EMBOSS_W || height != EMBOSS_H || most != 255) {
    fprintf(stderr, "made for %dx%d pixels of 8 bits\n", EMBOSS_W, EMBOSS_H);
    return 1;
  }
  for (int i = 0; i < width * height * 4; ++i) {
    const int value = i % 4 == 3 ? 255 : getchar();
    if (value == EOF) {
      fputs("the image ends early\n", stderr);
      return 1;
    }
    image[i] = (float)value / 255.0f;
  }
  filter_image();
  printf("P6 %d %d 255\n", EMBOSS_OW, EMBOSS_OH);
  for (int i = 0; i < width * height * 4; ++i) {
    if (i % 4 != 3) putchar((int)(filtered[i] * 255.0f + 0.5f));
  }
  fprintf(stderr, "filtered by %s\n", emboss_isa());
  return 0;
}
