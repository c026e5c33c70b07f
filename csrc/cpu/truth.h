// The scores ranks are counted against: each caption with its own image, each image with the best of its captions.
#pragma once

#include "blocks.h"
#include "ranks.h"

#include <cmath>
#include <numeric>

namespace pcsr {

// Made by the chain of sums that blocks are made by, so that equal scores are equal bits. Captions are padded with
// zeros.
template <typename T>
struct Truth {
    Truth(const Matrix& images, const Matrix& texts, const std::int64_t* image_of_caption, std::int64_t padded)
        : captions(static_cast<std::size_t>(texts.rows)), of_image(static_cast<std::size_t>(images.rows), none),
          of_caption(static_cast<std::size_t>(padded)), best(of_image.size(), -1), image(of_caption.size()),
          own_captions(of_image.size()) {
        std::vector<std::int64_t> here(captions);
        std::iota(here.begin(), here.end(), 0);
        const std::int64_t count = texts.rows, at_once = 256;
#pragma omp parallel for num_threads(threads_for(double(count) * double(texts.width)))
        for (std::int64_t first = 0; first < count; first += at_once) {
            dot_kernels<T>().dots(images, image_of_caption + first, texts, here.data() + first,
                                  std::min(at_once, count - first), of_caption.data() + first);
        }
        for (std::size_t caption = 0; caption < captions; ++caption) {
            const std::int64_t mine = image_of_caption[caption];
            image[caption] = static_cast<Index<T>>(mine);
            ++own_captions[mine];
            if (best[mine] < 0 || of_caption[caption] > of_image[mine] || std::isnan(of_caption[caption])) {
                of_image[mine] = of_caption[caption];
                best[mine] = static_cast<Index<T>>(caption);
            }
        }
    }

    // From counts over all entries to ranks among those of others.
    void leave_own_out(Ties ties, std::int64_t* image_ranks, std::int64_t* caption_ranks) const {
        const auto rows = static_cast<std::int64_t>(of_image.size());
        if (ties == Ties::pessimistic) {
            for (std::size_t caption = 0; caption < captions; ++caption) {
                --caption_ranks[caption];
                image_ranks[image[caption]] -= !(of_caption[caption] < of_image[image[caption]]);
            }
        }
        for (std::int64_t row = 0; row < rows; ++row) {
            if (own_captions[row] == 0) {
                image_ranks[row] = -1;
            } else if (ties == Ties::pessimistic && !(of_image[row] > none)) {
                // Everything comes before NaN and -infinity, but not what pads the last columns.
                image_ranks[row] = static_cast<std::int64_t>(captions) - own_captions[row];
            }
        }
    }

    static constexpr T none = -std::numeric_limits<T>::infinity();
    std::size_t captions;
    std::vector<T> of_image, of_caption;
    std::vector<Index<T>> best, image;
    std::vector<std::int64_t> own_captions;
};

} // namespace pcsr
