// Launches of the search for hardest negatives (KERNELS 1, K1).
#include "hardest.cuh"
#include "products.h"
#include "wide_products.h"

using namespace pcsr::cuda;

namespace {

cudaError_t unpack(const Queue& queue, const Key* keys, std::int64_t count, float* values, std::int64_t* indices) {
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, count, THREADS, 4, blocks);
    return error != cudaSuccess ? error : launch(queue, &unpack_keys, blocks, THREADS, 0, keys, count, values, indices);
}

HardestNegatives epilogue_of(const HardestSearch& search) {
    return {search.row_groups, search.column_groups, search.margins,     search.margin_stride,
            search.shift,      search.row_keys,      search.column_keys, search.own};
}

cudaError_t find(const Queue& queue, const Product& product, Arithmetic arithmetic, const HardestSearch& search) {
    bool wide = false;
    const cudaError_t error = suits_wide(queue, product, arithmetic, wide);
    if (error != cudaSuccess) {
        return error;
    }
    if (wide && search.shift != Shift::matrix) {
        return walk_wide(queue, product, arithmetic, epilogue_of(search));
    }
    return walk(queue, product, arithmetic, epilogue_of(search));
}

} // namespace

extern "C" int pcsr_cuda_hardest(const Queue* queue, const Matrix* x, const Matrix* y, Arithmetic arithmetic,
                                 const HardestSearch* search) {
    cudaError_t error = find(*queue, {*x, *y, false}, arithmetic, *search);
    if (error == cudaSuccess) {
        error = unpack(*queue, search->row_keys, x->rows, search->row_values, search->row_indices);
    }
    if (error == cudaSuccess) {
        error = unpack(*queue, search->column_keys, y->rows, search->column_values, search->column_indices);
    }
    return error;
}
