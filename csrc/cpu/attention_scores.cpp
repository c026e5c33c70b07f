#include "attention_scores.h"

#include "attention_columns.h"

#ifdef PCSR_X86
#    include "bounds.h"
#endif

namespace pcsr {
namespace {

constexpr std::int64_t chunk_columns = 160;
constexpr std::int64_t block_images = 8; // that share what is done once a pair: global nodes and the last step
constexpr std::int64_t tasks_a_thread = 4;

// An image as rows of products: its regions, and their transpose.
template <typename P>
struct PackedImage {
    Memory<P> regions;
    Memory<P> across;
};

// Rows of floats with room to read and write beyond, zeroed: what is read there reaches no result.
Memory<float> room_for(std::int64_t count) {
    auto memory = aligned_memory<float>(count);
    std::fill_n(memory.get(), count, 0.0f);
    return memory;
}

// What one thread works in, for any chunk of the captions.
template <typename P>
struct Attending {
    Attending(const CrossAttention& problem, const Layout<P>& layout, const Captions<P>& captions)
        : stride(captions.most_columns + attention_kernels().slack),
          scores(room_for((layout.of_regions().padded_rows(problem.each) + 1) * stride)),
          focused(room_for((problem.each + 1) * stride)), totals(room_for(stride)),
          weights(aligned_memory<P>(captions.most_columns / layout.columns() * layout.panel_size(problem.each))) {}

    std::int64_t stride;
    Memory<float> scores;
    Memory<float> focused;
    Memory<float> totals;
    Memory<P> weights;
};

template <typename P>
class Attention {
public:
    Attention(const CrossAttention& problem, const Layout<P>& layout)
        : problem(problem), layout(layout), captions(problem, this->layout, chunk_columns), width(problem.words.width) {
    }

    PackedImage<P> pack(std::int64_t image) const {
        const std::int64_t each = problem.each, first = image * each, stride = problem.regions.stride;
        const float* const regions = static_cast<const float*>(problem.regions.data) + first * stride;
        const auto across = aligned_memory<float>(width * each);
        for (std::int64_t region = 0; region < each; ++region) {
            for (std::int64_t k = 0; k < width; ++k) {
                across[k * each + region] = regions[region * stride + k];
            }
        }
        return {layout.of_regions().pack_rows(problem.regions, first, each),
                layout.pack_rows(as_matrix(across.get(), width, each), 0, width)};
    }

    // Scores, focused weights, packed weights and their sums of one image and the captions of a chunk.
    void attend(const P* regions, const Chunk& chunk, float sharpness, Attending<P>& room) const {
        layout.of_regions().multiply(regions, problem.each, captions.packed(chunk.first), chunk.columns, width,
                                     room.scores.get(), room.stride);
        attention_kernels().focus(room.scores.get(), room.focused.get(), room.stride, problem.each,
                                  chunk.segments.data(), chunk.segments.size(), sharpness);
        for (std::int64_t column = 0; column < chunk.columns; column += layout.columns()) {
            layout.panels.attend(room.focused.get() + column, room.stride, problem.each, layout.group,
                                 weights(room, column), room.totals.get() + column);
        }
    }

    P* weights(Attending<P>& room, std::int64_t column) const {
        return room.weights.get() + layout.panel_start(column, problem.each);
    }

    // visit(slot, first image, images, chunks) for ranges of images and chunks: each pair in one, on any thread.
    template <typename Visit>
    void for_each_task(int threads, Visit visit) const {
        const auto chunks = static_cast<std::int64_t>(captions.chunks.size());
        const std::int64_t blocks = (problem.images() + block_images - 1) / block_images;
        const std::int64_t groups =
            std::clamp<std::int64_t>(threads == 1 ? 1 : (tasks_a_thread * threads + blocks - 1) / blocks, 1, chunks);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (std::int64_t task = 0; task < blocks * groups; ++task) {
            const std::int64_t first = task / groups * block_images, group = task % groups;
            visit(this_thread(), first, std::min(block_images, problem.images() - first), chunks * group / groups,
                  chunks * (group + 1) / groups);
        }
    }

    int threads() const {
        return threads_for(double(problem.regions.rows) * double(problem.words.rows) * double(width));
    }

    const CrossAttention& problem;
    const Layout<P> layout;
    const Captions<P> captions;
    std::int64_t width;
};

// What one thread needs beside: rows of `stride` columns of a chunk, rows of `pair_stride` pairs of a block of images.
template <typename P>
struct ReasoningRoom {
    ReasoningRoom(const CrossAttention& problem, const Reasoning& weights, const Layout<P>& layout,
                  const Captions<P>& captions)
        : attending(problem, layout, captions), stride(attending.stride),
          pair_stride(layout.padded_columns(captions.most_captions * block_images) + attention_kernels().slack) {
        const std::int64_t width = problem.words.width, size = weights.size(), slack = attention_kernels().slack;
        const std::int64_t panels = captions.most_columns / layout.columns();
        const std::int64_t pair_panels = pair_stride / layout.columns();
        const std::int64_t deepest = std::max(width, size);
        const std::int64_t node_rows = std::max(layout.padded_rows(size), size + slack);
        const std::int64_t product_rows = std::max(layout.padded_rows(2 * size), 2 * size + slack);
        contexts = room_for((layout.padded_rows(width) + 1) * layout.columns());
        differences = aligned_memory<P>(std::max(panels, pair_panels) * layout.panel_size(deepest));
        nodes_size = node_rows * stride;
        nodes = room_for(block_images * nodes_size);
        tilts = room_for(block_images * stride);
        products = room_for(product_rows * stride);
        const std::int64_t most = std::min(captions.most_columns, stride) + slack;
        edges = room_for(most * most);
        global_captions = room_for(width * (captions.most_captions + slack));
        pairs = room_for((std::max(layout.padded_rows(deepest), deepest) + 1) * pair_stride);
        answers = room_for((layout.padded_rows(size) + 1) * pair_stride);
    }

    Attending<P> attending;
    std::int64_t stride;
    std::int64_t pair_stride;
    std::int64_t nodes_size;
    Memory<float> contexts;
    Memory<P> differences;
    Memory<float> nodes; // of each image of the block
    Memory<float> tilts;
    Memory<float> products;
    Memory<float> edges;
    Memory<float> global_captions;
    Memory<float> pairs;
    Memory<float> answers;
};

template <typename P>
class SgrScores {
public:
    SgrScores(const CrossAttention& problem, const Reasoning& weights, const Layout<P>& layout, float* out)
        : attention_(problem, layout), weights_(weights), out_(out), size_(weights.size()),
          local_(layout.pack_rows(weights.local, 0, size_)), global_(layout.pack_rows(weights.global, 0, size_)) {
        const std::int64_t last = 2 * size_ * (weights.steps() - 1);
        for (std::int64_t step = 0; step + 1 < weights.steps(); ++step) {
            graph_.push_back(layout.pack_rows(weights.graph, 2 * size_ * step, 2 * size_));
        }
        last_query_ = layout.pack_rows(weights.graph, last, size_);
        last_update_ = layout.pack_rows(weights.graph, last + size_, size_);
    }

    void run() {
        const int threads = attention_.threads();
        std::vector<ReasoningRoom<P>> rooms;
        for (int slot = 0; slot < threads; ++slot) {
            rooms.emplace_back(attention_.problem, weights_, layout(), attention_.captions);
        }
        attention_.for_each_task(
            threads, [&](int slot, std::int64_t first, std::int64_t images, std::int64_t chunk, std::int64_t end) {
                std::vector<PackedImage<P>> packed;
                for (std::int64_t image = 0; image < images; ++image) {
                    packed.push_back(attention_.pack(first + image));
                }
                for (; chunk < end; ++chunk) {
                    score(packed, first, attention_.captions.chunks[chunk], rooms[slot]);
                }
            });
    }

private:
    using Room = ReasoningRoom<P>;
    const Layout<P>& layout() const { return attention_.layout; }
    std::int64_t panel() const { return layout().columns(); }

    void score(const std::vector<PackedImage<P>>& images, std::int64_t first, const Chunk& chunk, Room& room) const {
        const auto captions = static_cast<std::int64_t>(chunk.captions.size());
        const std::int64_t count = static_cast<std::int64_t>(images.size()), pairs = captions * count;
        make_globals(first, count, chunk, room);
        for (std::int64_t image = 0; image < count; ++image) {
            float* const nodes = room.nodes.get() + image * room.nodes_size;
            make_locals(images[image], chunk, nodes, room);
            put_globals(chunk, room.answers.get() + image * captions, nodes, room);
            take_steps(chunk, nodes, room.tilts.get() + image * room.stride, room);
            take_globals(chunk, nodes, room.pairs.get() + image * captions, room);
        }
        answer(count, chunk, room);
        for (std::int64_t pair = 0; pair < pairs; ++pair) {
            out_[(first + pair / captions) * attention_.problem.captions() + chunk.captions[pair % captions]] =
                room.answers[pair];
        }
    }

    // The global nodes of one image's pairs to their place among all nodes, and back.
    void put_globals(const Chunk& chunk, const float* globals, float* nodes, const Room& room) const {
        for (std::int64_t k = 0; k < size_; ++k) {
            for (std::size_t caption = 0; caption < chunk.segments.size(); ++caption) {
                nodes[k * room.stride + chunk.segments[caption].first] = globals[k * room.pair_stride + caption];
            }
        }
    }
    void take_globals(const Chunk& chunk, const float* nodes, float* globals, const Room& room) const {
        for (std::int64_t k = 0; k < size_; ++k) {
            for (std::size_t caption = 0; caption < chunk.segments.size(); ++caption) {
                globals[k * room.pair_stride + caption] = nodes[k * room.stride + chunk.segments[caption].first];
            }
        }
    }

    // A product of `count` rows with the columns of `from` (depth rows), packed on the way.
    void multiply(const P* rows, std::int64_t count, float* from, std::int64_t depth, std::int64_t stride,
                  std::int64_t columns, P* packed, float* to) const {
        for (std::int64_t column = 0; column < columns; column += panel()) {
            layout().panels.settle(from + column, stride, depth, nullptr, nullptr, nullptr, layout().group,
                                   packed + layout().panel_start(column, depth));
        }
        layout().multiply(rows, count, packed, columns, depth, to, stride);
    }

    // The global nodes of all pairs of the block, in room.answers.
    void make_globals(std::int64_t first, std::int64_t images, const Chunk& chunk, Room& room) const {
        const auto captions = static_cast<std::int64_t>(chunk.captions.size());
        const std::int64_t width = attention_.width, caption_stride = captions + attention_kernels().slack;
        for (std::int64_t caption = 0; caption < captions; ++caption) {
            const float* const vector =
                static_cast<const float*>(weights_.captions.data) + chunk.captions[caption] * weights_.captions.stride;
            for (std::int64_t k = 0; k < width; ++k) {
                room.global_captions[k * caption_stride + caption] = vector[k];
            }
        }
        for (std::int64_t image = 0; image < images; ++image) {
            attention_kernels().differ_globals(static_cast<const float*>(weights_.images.data) +
                                                   (first + image) * weights_.images.stride,
                                               room.global_captions.get(), caption_stride, captions, width,
                                               room.pairs.get() + image * captions, room.pair_stride);
        }
        const std::int64_t columns = layout().padded_columns(images * captions);
        multiply(global_.get(), size_, room.pairs.get(), width, room.pair_stride, columns, room.differences.get(),
                 room.answers.get());
        for (std::int64_t column = 0; column < columns; column += panel()) {
            attention_kernels().unit(room.answers.get() + column, room.pair_stride, size_, weights_.vector(1));
        }
    }

    void make_locals(const PackedImage<P>& image, const Chunk& chunk, float* nodes, Room& room) const {
        const std::int64_t width = attention_.width, each = attention_.problem.each;
        attention_.attend(image.regions.get(), chunk, sgr_sharpness, room.attending);
        for (std::int64_t column = 0; column < chunk.columns; column += panel()) {
            layout().multiply(image.across.get(), width, attention_.weights(room.attending, column), panel(), each,
                              room.contexts.get(), panel());
            layout().panels.differ(room.contexts.get(), attention_.captions.values(chunk.first + column),
                                   room.attending.totals.get() + column, width, layout().group,
                                   room.differences.get() + layout().panel_start(column, width));
        }
        layout().multiply(local_.get(), size_, room.differences.get(), chunk.columns, width, nodes, room.stride);
        for (std::int64_t column = 0; column < chunk.columns; column += panel()) {
            attention_kernels().unit(nodes + column, room.stride, size_, weights_.vector(0));
        }
    }

    // All steps but the last; `tilts` are left for that one.
    void take_steps(const Chunk& chunk, float* nodes, float* tilts, Room& room) const {
        const std::int64_t steps = weights_.steps();
        for (std::int64_t step = 0; step < steps; ++step) {
            for (std::int64_t column = 0; column < chunk.columns; column += panel()) {
                layout().panels.settle(nodes + column, room.stride, size_,
                                       step == 0 ? nullptr : weights_.update_bias(step - 1), weights_.tilt(step),
                                       tilts + column, layout().group,
                                       room.differences.get() + layout().panel_start(column, size_));
            }
            if (step + 1 < steps) {
                layout().multiply(graph_[step].get(), 2 * size_, room.differences.get(), chunk.columns, size_,
                                  room.products.get(), room.stride);
                const GraphStep graph{nodes, room.products.get(), room.stride, size_, tilts, room.edges.get()};
                for (const Segment& segment : chunk.segments) {
                    attention_kernels().reason(graph, segment);
                }
            }
        }
    }

    // The last step, of the global nodes of all pairs together: scores into the first row of room.answers.
    void answer(std::int64_t images, const Chunk& chunk, Room& room) const {
        const std::int64_t last = weights_.steps() - 1;
        const auto captions = static_cast<std::int64_t>(chunk.captions.size());
        const std::int64_t columns = layout().padded_columns(images * captions);
        multiply(last_query_.get(), size_, room.pairs.get(), size_, room.pair_stride, columns, room.differences.get(),
                 room.answers.get());
        for (std::int64_t pair = 0; pair < images * captions; ++pair) {
            const std::int64_t image = pair / captions;
            attention_kernels().answer({room.nodes.get() + image * room.nodes_size, room.stride, size_,
                                        room.tilts.get() + image * room.stride, room.answers.get() + pair,
                                        room.pairs.get() + pair, room.pair_stride, room.edges.get()},
                                       chunk.segments[pair % captions]);
        }
        multiply(last_update_.get(), size_, room.pairs.get(), size_, room.pair_stride, columns, room.differences.get(),
                 room.answers.get());
        for (std::int64_t column = 0; column < columns; column += panel()) {
            attention_kernels().conclude(room.answers.get() + column, room.pair_stride, size_,
                                         weights_.update_bias(last), weights_.vector(2 + 2 * (last + 1)),
                                         weights_.output_bias, room.answers.get() + column);
        }
    }

    Attention<P> attention_;
    const Reasoning& weights_;
    float* out_;
    std::int64_t size_;
    Memory<P> local_;
    Memory<P> global_;
    std::vector<Memory<P>> graph_;
    Memory<P> last_query_;
    Memory<P> last_update_;
};

// Panels of regions leave as few rows idle as they can.
Layout<float> exact_layout(std::int64_t regions) {
    const ProductKernels<float>&all = product_kernels<float>(), &fewer = PCSR_TABLE(short_products_f32);
    const bool fits = round_up(regions, fewer.panel_rows) < round_up(regions, all.panel_rows);
    return {all, PCSR_TABLE(panels_f32), 0, fits ? fewer : all};
}

// Gram matrix V V^T of one image's regions, in float32, by which squares of contexts are sums over regions.
template <typename P>
Memory<P> pack_gram(const CrossAttention& problem, const Layout<P>& layout, std::int64_t image) {
    const std::int64_t each = problem.each;
    const Layout<float> exact = exact_layout(each).of_regions();
    const std::int64_t width = problem.regions.width, stride = exact.padded_columns(each);
    const auto rows = exact.pack_rows(problem.regions, image * each, each);
    const auto columns = aligned_memory<float>(exact.panel_start(stride, width));
    for (std::int64_t column = 0; column < each; column += exact.columns()) {
        exact.products.pack_columns(problem.regions, image * each + column, std::min(exact.columns(), each - column),
                                    columns.get() + exact.panel_start(column, width));
    }
    const auto gram = aligned_memory<float>(exact.padded_rows(each) * stride);
    exact.multiply(rows.get(), each, columns.get(), stride, width, gram.get(), stride);
    return layout.pack_rows({gram.get(), Type::f32, each, each, stride}, 0, each);
}

template <typename P>
void scan(const CrossAttention& problem, float sharpness, const Layout<P>& layout, float* out) {
    const Attention<P> attention(problem, layout);
    const std::int64_t panel = layout.columns();
    const int threads = attention.threads();
    std::vector<Attending<P>> rooms;
    std::vector<Memory<float>> products;
    for (int slot = 0; slot < threads; ++slot) {
        rooms.emplace_back(problem, layout, attention.captions);
        products.push_back(room_for(layout.padded_rows(problem.each) * panel));
    }
    const auto score = [&](const Memory<P>& regions, const Memory<P>& gram, const Chunk& chunk, int slot, float* row) {
        Attending<P>& room = rooms[slot];
        attention.attend(regions.get(), chunk, sharpness, room);
        for (std::int64_t column = 0; column < chunk.columns; column += panel) {
            layout.multiply(gram.get(), problem.each, attention.weights(room, column), panel, problem.each,
                            products[slot].get(), panel);
            float* const totals = room.totals.get() + column;
            attention_kernels().cosines(room.scores.get() + column, room.focused.get() + column, room.stride,
                                        products[slot].get(), problem.each, totals,
                                        attention.captions.squares(chunk.first + column), totals);
        }
        for (std::size_t n = 0; n < chunk.captions.size(); ++n) {
            const Segment& segment = chunk.segments[n];
            const float* const cosines = room.totals.get() + segment.first + 1;
            row[chunk.captions[n]] =
                std::accumulate(cosines, cosines + segment.count - 1, 0.0f) / static_cast<float>(segment.count - 1);
        }
    };
    attention.for_each_task(
        threads, [&](int slot, std::int64_t first, std::int64_t images, std::int64_t chunk, std::int64_t end) {
            for (std::int64_t image = first; image < first + images; ++image) {
                const Memory<P> regions =
                    layout.of_regions().pack_rows(problem.regions, image * problem.each, problem.each);
                const Memory<P> gram = pack_gram(problem, layout, image);
                for (std::int64_t at = chunk; at < end; ++at) {
                    score(regions, gram, attention.captions.chunks[at], slot, out + image * problem.captions());
                }
            }
        });
}

#ifdef PCSR_X86
constexpr int tile = 16; // columns of a pair of depths that lie side by side

Layout<std::uint16_t> half_layout() {
    const HalfKernels& products = half_kernels();
    return {products, avx512::panels_half, active_isa() == Isa::amx ? tile : products.panel_columns};
}

Layout<Split> split_layout() {
    return {amx::split_products, avx512::panels_split, tile};
}

// Small sums show what splitting leaves out, and small problems gain nothing.
bool worth_splitting(const CrossAttention& problem) {
    constexpr double least_work = 1 << 24;
    constexpr std::int64_t least_width = 128;
    const std::int64_t width = problem.words.width;
    return width >= least_width &&
           double(problem.regions.rows) * double(problem.words.rows) * double(width) >= least_work;
}
#endif

// run(layout) with the products that a precision asks for.
template <typename Run>
void with_layout(const CrossAttention& problem, Precision precision, Run run) {
#ifdef PCSR_X86
    if (precision == Precision::bf16 && has_half()) {
        return run(half_layout());
    }
    if (precision == Precision::automatic && active_isa() == Isa::amx && worth_splitting(problem)) {
        return run(split_layout());
    }
#endif
    run(exact_layout(problem.each));
}

} // namespace

void sgr_scores(const CrossAttention& problem, const Reasoning& weights, Precision precision, float* out) {
    with_layout(problem, precision, [&](const auto& layout) { SgrScores(problem, weights, layout, out).run(); });
}

void scan_scores(const CrossAttention& problem, float sharpness, Precision precision, float* out) {
    with_layout(problem, precision, [&](const auto& layout) { scan(problem, sharpness, layout, out); });
}

} // namespace pcsr
