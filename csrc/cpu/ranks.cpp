#include "ranks.h"

#include "truth.h"
#ifdef PCSR_X86
#    include "screened_ranks.h"
#endif

namespace pcsr {
namespace {

template <typename T>
const RankKernels<T>& rank_kernels() {
    return of_type<T>(PCSR_TABLE(ranks_f32), PCSR_TABLE(ranks_f64));
}

template <typename T>
class FullCount final : public BlockVisitor<T> {
public:
    FullCount(const Matrix& images, const Matrix& captions, const Truth<T>& truth, Ties ties)
        : loop_(product_kernels<T>(), images, captions, Cut{}), kernels_(rank_kernels<T>()), truth_(truth), ties_(ties),
          padded_(loop_.padded_columns()) {
        lane_counts_.resize(static_cast<std::size_t>(loop_.block_rows() * kernels_.lanes * loop_.threads()));
        column_counts_.assign(static_cast<std::size_t>(padded_ * loop_.parts()), 0);
    }

    // Adds the counts to what the arrays hold.
    void run(std::int64_t* image_counts, std::int64_t* caption_counts) {
        image_counts_ = image_counts;
        loop_.run(*this);
        for (int part = 0; part < loop_.parts(); ++part) {
            for (std::size_t caption = 0; caption < truth_.captions; ++caption) {
                caption_counts[caption] += column_counts_[part * padded_ + caption];
            }
        }
    }

    void begin_rows(int slot, std::int64_t, std::int64_t rows) override {
        std::fill_n(lanes_of(slot), rows * kernels_.lanes, Index<T>(0));
    }

    void visit(int part, int slot, const Block<T>& block) override {
        const std::int64_t row = block.first_row, column = block.first_column;
        kernels_.count(block,
                       {truth_.of_image.data() + row, truth_.of_caption.data() + column, truth_.best.data() + row,
                        truth_.image.data() + column, lanes_of(slot), column_counts_.data() + part * padded_ + column},
                       ties_);
    }

    void end_rows(int, int slot, const Block<T>& block) override {
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const Index<T>* const counts = lanes_of(slot) + row * kernels_.lanes;
            image_counts_[block.first_row + row] += std::accumulate(counts, counts + kernels_.lanes, std::int64_t(0));
        }
    }

private:
    Index<T>* lanes_of(int slot) { return lane_counts_.data() + slot * loop_.block_rows() * kernels_.lanes; }

    BlockLoop<T> loop_;
    const RankKernels<T>& kernels_;
    const Truth<T>& truth_;
    Ties ties_;
    std::int64_t padded_;
    std::vector<Index<T>> lane_counts_, column_counts_;
    std::int64_t* image_counts_ = nullptr;
};

template <typename T>
bool count_screened(const Matrix&, const Matrix&, const Truth<T>&, Ties, Precision, std::int64_t*, std::int64_t*) {
    return false;
}

#ifdef PCSR_X86
template <>
bool count_screened(const Matrix& images, const Matrix& captions, const Truth<float>& truth, Ties ties,
                    Precision precision, std::int64_t* image_counts, std::int64_t* caption_counts) {
    const bool wanted = precision == Precision::automatic ? worth_screening(images, captions) : has_half();
    return precision != Precision::exact && wanted &&
           count_ranks_screened(half_kernels(), images, captions, truth, ties, image_counts, caption_counts);
}
#endif

} // namespace

template <typename T>
void retrieval_ranks(const Matrix& images, const Matrix& captions, const std::int64_t* image_of_caption, Ties ties,
                     Precision precision, std::int64_t* image_ranks, std::int64_t* caption_ranks) {
    const Truth<T> truth(images, captions, image_of_caption, round_up(captions.rows, 64));
    std::fill_n(image_ranks, images.rows, 0);
    std::fill_n(caption_ranks, captions.rows, 0);
    if (!count_screened<T>(images, captions, truth, ties, precision, image_ranks, caption_ranks)) {
        FullCount<T>(images, captions, truth, ties).run(image_ranks, caption_ranks);
    }
    truth.leave_own_out(ties, image_ranks, caption_ranks);
}

template void retrieval_ranks<float>(const Matrix&, const Matrix&, const std::int64_t*, Ties, Precision, std::int64_t*,
                                     std::int64_t*);
template void retrieval_ranks<double>(const Matrix&, const Matrix&, const std::int64_t*, Ties, Precision, std::int64_t*,
                                      std::int64_t*);

} // namespace pcsr
