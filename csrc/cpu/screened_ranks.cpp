#include "screened_ranks.h"

#include <atomic>

namespace pcsr {
namespace {

constexpr double doubtful_share = 0.02; // of all scores, from which on the screen does not pay off
constexpr double fewest_seen = 1e6;     // before that is judged

float below(double value) {
    return std::nextafter(static_cast<float>(value), -std::numeric_limits<float>::infinity());
}
float above(double value) {
    return std::nextafter(static_cast<float>(value), std::numeric_limits<float>::infinity());
}

class ScreenedCount final : public BlockVisitor<float> {
public:
    ScreenedCount(const HalfKernels& products, const Matrix& images, const Matrix& captions, const Truth<float>& truth,
                  Ties ties)
        : images_(images), captions_(captions), truth_(truth), ties_(ties), loop_(products, images, captions, cut),
          padded_(loop_.padded_columns()), bounds_(images, captions, 0) {}

    bool run(std::int64_t* image_counts, std::int64_t* caption_counts) {
        if (!bounds_.valid) {
            return false;
        }
        set_limits();
        image_counts_.assign(static_cast<std::size_t>(images_.rows), 0);
        column_counts_.assign(static_cast<std::size_t>(padded_ * loop_.parts()), 0);
        doubts_.resize(static_cast<std::size_t>(loop_.threads()));
        loop_.run(*this);
        if (given_up_) {
            return false;
        }
        for (std::int64_t row = 0; row < images_.rows; ++row) {
            image_counts[row] += image_counts_[row];
        }
        for (int part = 0; part < loop_.parts(); ++part) {
            for (std::int64_t caption = 0; caption < captions_.rows; ++caption) {
                caption_counts[caption] += column_counts_[part * padded_ + caption];
            }
        }
        return true;
    }

    void begin_rows(int, std::int64_t, std::int64_t) override {}

    void visit(int part, int slot, const Block<float>& block) override {
        if (given_up_) {
            return;
        }
        const std::int64_t row = block.first_row, column = block.first_column;
        Doubts& doubts = doubts_[slot];
        const std::size_t most = static_cast<std::size_t>(block.rows * block.columns);
        doubts.places.resize(std::max(doubts.places.size(), most));
        std::int32_t* const counts = column_counts_.data() + part * padded_ + column;
        const std::int64_t found = avx512::screen.count(
            block, {row_low_.data() + row, row_high_.data() + row, column_low_.data() + column,
                    column_high_.data() + column, image_counts_.data() + row, counts, doubts.places.data()});
        decide(doubts, found, block, counts);
    }

    void end_rows(int, int, const Block<float>& block) override {
        seen_ += block.rows * block.columns;
        if (static_cast<double>(doubtful_) > doubtful_share * std::max<double>(seen_, fewest_seen)) {
            given_up_ = true;
        }
    }

private:
    struct Doubts {
        std::vector<std::int32_t> places;
        std::vector<std::int64_t> rows, columns;
        std::vector<float> scores;
    };

    // Above the high limit a score surely comes before the truth, below the low one surely after.
    void set_limits() {
        const auto limits = [](const std::vector<float>& truth, const std::vector<double>& bounds, std::size_t padded,
                               std::vector<float>& low, std::vector<float>& high) {
            low.assign(padded, std::numeric_limits<float>::infinity());
            high.assign(padded, std::numeric_limits<float>::infinity());
            for (std::size_t i = 0; i < bounds.size(); ++i) {
                low[i] = below(static_cast<double>(truth[i]) - bounds[i]);
                high[i] = above(static_cast<double>(truth[i]) + bounds[i]);
            }
        };
        limits(truth_.of_image, bounds_.rows, bounds_.rows.size(), row_low_, row_high_);
        limits(truth_.of_caption, bounds_.columns, static_cast<std::size_t>(padded_), column_low_, column_high_);
        for (std::size_t row = 0; row < bounds_.rows.size(); ++row) {
            if (truth_.own_captions[row] == 0) {
                row_low_[row] = row_high_[row] = std::numeric_limits<float>::infinity(); // it has no rank to count for
            }
        }
    }

    // Scores between the limits are computed anew.
    void decide(Doubts& doubts, std::int64_t found, const Block<float>& block, std::int32_t* counts) {
        if (found == 0) {
            return;
        }
        doubtful_ += found;
        doubts.rows.clear();
        doubts.columns.clear();
        for (std::int64_t i = 0; i < found; ++i) {
            doubts.rows.push_back(block.first_row + doubts.places[i] / static_cast<std::int32_t>(block.columns));
            doubts.columns.push_back(block.first_column + doubts.places[i] % static_cast<std::int32_t>(block.columns));
        }
        doubts.scores.resize(static_cast<std::size_t>(found));
        dot_kernels<float>().dots(images_, doubts.rows.data(), captions_, doubts.columns.data(), found,
                                  doubts.scores.data());
        for (std::int64_t i = 0; i < found; ++i) {
            const std::int64_t row = doubts.rows[i], column = doubts.columns[i], local = row - block.first_row;
            const float score = doubts.scores[i];
            const float rough = block.scores[local * block.stride + column - block.first_column];
            if (rough >= row_low_[row] && rough <= row_high_[row]) {
                image_counts_[row] += before(score, truth_.of_image[row], column, truth_.best[row]);
            }
            if (rough >= column_low_[column] && rough <= column_high_[column]) {
                counts[column - block.first_column] +=
                    before(score, truth_.of_caption[column], row, truth_.image[column]);
            }
        }
    }

    bool before(float score, float truth, std::int64_t at, std::int64_t own) const {
        return ties_ == Ties::pessimistic  ? score >= truth
               : ties_ == Ties::optimistic ? score > truth
                                           : score > truth || (score == truth && at < own);
    }

    static constexpr Cut cut{2 << 20, 256 << 10, 128, 0, false};
    const Matrix& images_;
    const Matrix& captions_;
    const Truth<float>& truth_;
    Ties ties_;
    BlockLoop<float, std::uint16_t> loop_;
    std::int64_t padded_;
    ErrorBounds bounds_;
    std::vector<float> row_low_, row_high_, column_low_, column_high_;
    std::vector<std::int32_t> image_counts_, column_counts_;
    std::vector<Doubts> doubts_;
    std::atomic<std::int64_t> seen_{0}, doubtful_{0};
    std::atomic<bool> given_up_{false};
};

} // namespace

bool count_ranks_screened(const HalfKernels& products, const Matrix& images, const Matrix& captions,
                          const Truth<float>& truth, Ties ties, std::int64_t* image_counts,
                          std::int64_t* caption_counts) {
    return ScreenedCount(products, images, captions, truth, ties).run(image_counts, caption_counts);
}

} // namespace pcsr
