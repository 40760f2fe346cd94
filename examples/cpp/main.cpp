// A generated layer in C++: its arrays are std::vector, its parts run on std::thread.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include "blur.h"

static_assert(BLUR_OH == BLUR_H && BLUR_OW == BLUR_W, "a blurred picture is as large as it was");

namespace {

// The layer with weights of its own: packed once, then used by any number of threads.
class Blur {
public:
  explicit Blur(float sigma) : packed_(BLUR_PACKED_BYTES / sizeof(float))
  {
    blur_pack(weights(sigma).data(), nullptr, packed_.data());
  }

  // Weights lie as the spec says: [kh][kw][1][channel]; they add up to 1.
  static std::vector<float> weights(float sigma)
  {
    std::vector<float> w(BLUR_KH * BLUR_KW * BLUR_OC);
    float sum = 0;
    for (int tap = 0; tap < BLUR_KH * BLUR_KW; ++tap) {
      const float y = float(tap / BLUR_KW - BLUR_KH / 2), x = float(tap % BLUR_KW - BLUR_KW / 2);
      const float value = std::exp(-(x * x + y * y) / (2 * sigma * sigma));
      std::fill_n(&w[std::size_t(tap) * BLUR_OC], BLUR_OC, value);
      sum += value;
    }
    for (float &value : w) value /= sum;
    return w;
  }

  // Each thread does a share of the rows, with a workspace of its own (of 0 bytes for most layers).
  std::vector<float> operator()(const std::vector<float> &picture, int parts) const
  {
    std::vector<float> y(BLUR_OH * BLUR_OW * BLUR_OC);
    std::vector<std::thread> threads;
    for (int part = 0; part < parts; ++part) {
      threads.emplace_back([&, part] {
        std::vector<float> workspace(BLUR_WORKSPACE_BYTES / sizeof(float) + 1);
        blur_run_part(picture.data(), packed_.data(), y.data(), workspace.data(), part, parts);
      });
    }
    for (std::thread &thread : threads) thread.join();
    return y;
  }

private:
  std::vector<float> packed_;
};

// The same layer as anyone would write it.
std::vector<float> plain_loops(const std::vector<float> &x, const std::vector<float> &w)
{
  std::vector<float> y(BLUR_OH * BLUR_OW * BLUR_OC);
  for (int oh = 0; oh < BLUR_OH; ++oh)
    for (int ow = 0; ow < BLUR_OW; ++ow)
      for (int c = 0; c < BLUR_OC; ++c) {
        double sum = 0;
        for (int kh = 0; kh < BLUR_KH; ++kh)
          for (int kw = 0; kw < BLUR_KW; ++kw) {
            const int ih = oh - BLUR_PT + kh, iw = ow - BLUR_PL + kw;
            if (ih < 0 || ih >= BLUR_H || iw < 0 || iw >= BLUR_W) continue;
            sum += double(x[std::size_t((ih * BLUR_W + iw) * BLUR_C + c)]) *
              double(w[std::size_t((kh * BLUR_KW + kw) * BLUR_OC + c)]);
          }
        y[std::size_t((oh * BLUR_OW + ow) * BLUR_OC + c)] = float(sum);
      }
  return y;
}

} // namespace

int main()
{
  if (!blur_cpu_ok()) {
    std::puts("this CPU lacks instructions that the layer was generated for");
    return 1;
  }
  std::vector<float> picture(BLUR_H * BLUR_W * BLUR_C);
  for (std::size_t i = 0; i < picture.size(); ++i) picture[i] = float(i * 7919 % 256) / 255;

  const float sigma = 1.2f;
  const Blur blur(sigma);
  const std::vector<float> one = blur(picture, 1), four = blur(picture, 4);
  const std::vector<float> wanted = plain_loops(picture, Blur::weights(sigma));
  float worst = 0;
  for (std::size_t i = 0; i < one.size(); ++i) worst = std::max(worst, std::fabs(one[i] - wanted[i]));

  std::printf("blurred %dx%d in %d channels\n", BLUR_H, BLUR_W, BLUR_C);
  std::printf("one thread and four: %s\n", one == four ? "the same bits" : "DIFFERENT");
  std::printf("plain loops: %s\n", worst < 1e-6f ? "the same within 1e-6" : "DIFFERENT");
  return one == four && worst < 1e-6f ? 0 : 1;
}
