// Launches of the kernels that walk over the tiles of S = x y^T.
#pragma once

#include "arithmetic.cuh"
#include "launch.h"

namespace pcsr::cuda {

template <class Arithmetic, class Epilogue>
cudaError_t walk(const Queue& queue, const Product& product, const Epilogue& epilogue) {
    const std::int64_t down = (product.x.rows + TILE - 1) / TILE, across = (product.y.rows + TILE - 1) / TILE;
    const std::int64_t tiles = product.diagonal ? down : down * across;
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, tiles, 1, Arithmetic::BLOCKS_PER_SM, blocks);
    if (error != cudaSuccess) {
        return error;
    }
    return launch(queue, &walk_tiles<Arithmetic, Epilogue>, blocks, THREADS, PIPELINE_BYTES, product, tiles, epilogue);
}

template <class Epilogue>
cudaError_t walk(const Queue& queue, const Product& product, Arithmetic arithmetic, const Epilogue& epilogue) {
    switch (arithmetic) {
    case Arithmetic::plain:
        return walk<PlainFloat32>(queue, product, epilogue);
    case Arithmetic::split:
        return walk<SplitFloat32>(queue, product, epilogue);
    case Arithmetic::bfloat16:
        return walk<BFloat16s>(queue, product, epilogue);
    case Arithmetic::float16:
        return walk<Float16s>(queue, product, epilogue);
    }
    return cudaErrorInvalidValue;
}

} // namespace pcsr::cuda
