// The ways to multiply one stage of the pipeline; each leaves its sums where mma.sync does, so all share the epilogues.
#pragma once

#include "tile.cuh"

namespace pcsr::cuda {

// 16-bit values on tensor cores, summed in float32: the products are exact.
template <class Type, void (*MMA)(float (&)[4], const std::uint32_t (&)[4], const std::uint32_t (&)[2])>
struct Halves {
    using Element = Type;
    template <int N>
    struct Operand {
        std::uint32_t values[N];
        __device__ __forceinline__ Operand(const std::uint32_t* raw) {
            for (int k = 0; k < N; ++k) {
                values[k] = raw[k];
            }
        }
    };
    static __device__ __forceinline__ void multiply(float (&c)[4], const Operand<4>& a, const Operand<2>& b) {
        MMA(c, a.values, b.values);
    }
};

// float32 as the sum of two tf32 numbers: three products leave out only low x low, about 2^-22 of the product.
struct SplitFloats {
    using Element = float;
    template <int N>
    struct Operand {
        std::uint32_t high[N];
        std::uint32_t low[N];
        __device__ __forceinline__ Operand(const std::uint32_t* raw) {
            for (int k = 0; k < N; ++k) {
                const float value = __uint_as_float(raw[k]);
                high[k] = round_tf32(value);
                low[k] = round_tf32(value - __uint_as_float(high[k]));
            }
        }
    };
    static __device__ __forceinline__ void multiply(float (&c)[4], const Operand<4>& a, const Operand<2>& b) {
        mma_tf32(c, a.low, b.high);
        mma_tf32(c, a.high, b.low);
        mma_tf32(c, a.high, b.high);
    }
};

// Fragments by ldmatrix: 32 bytes of every row a step, which are 16 halves or 8 floats.
template <class Values, int BLOCKS>
struct TensorCores {
    using Element = typename Values::Element;
    static constexpr int BLOCKS_PER_SM = BLOCKS;

    static __device__ __forceinline__ void accumulate(Fragments& sums, const unsigned char* x, const unsigned char* y) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int x_row = warp / TileLayout::WARPS_ACROSS * WARP_ROWS + lane % 16;
        const int y_row = warp % TileLayout::WARPS_ACROSS * WARP_COLUMNS + lane % 8 + lane / 16 * 8;
#pragma unroll
        for (int half = 0; half < ROW_BYTES / CHUNK; half += 2) {
            std::uint32_t a[WARP_ROWS / 16][4];
#pragma unroll
            for (int down = 0; down < WARP_ROWS / 16; ++down) {
                load_matrices(a[down], x + chunk_offset(x_row + down * 16, half + lane / 16));
            }
#pragma unroll
            for (int pair = 0; pair < WARP_COLUMNS / 16; ++pair) {
                std::uint32_t b[4];
                load_matrices(b, y + chunk_offset(y_row + pair * 16, half + lane / 8 % 2));
                multiply_pair(sums, a, b, pair);
            }
        }
    }

    static __device__ __forceinline__ void multiply_pair(Fragments& sums, const std::uint32_t (&a)[WARP_ROWS / 16][4],
                                                         const std::uint32_t (&b)[4], int pair) {
        const typename Values::template Operand<2> columns[2] = {b, b + 2};
#pragma unroll
        for (int down = 0; down < WARP_ROWS / 16; ++down) {
            const typename Values::template Operand<4> rows(a[down]);
            Values::multiply(sums[down][pair * 2], rows, columns[0]);
            Values::multiply(sums[down][pair * 2 + 1], rows, columns[1]);
        }
    }
};

// Plain float32, one fused multiply-add after the other; two columns at a time, as four would not fit the registers.
struct PlainFloats {
    using Element = float;
    static constexpr int BLOCKS_PER_SM = 2;

    static __device__ __forceinline__ void accumulate(Fragments& sums, const unsigned char* x, const unsigned char* y) {
        const Place place(threadIdx.x);
#pragma unroll 1
        for (int pair = 0; pair < ROW_BYTES / 8; ++pair) {
            float2 a[WARP_ROWS / 16][2];
#pragma unroll
            for (int down = 0; down < WARP_ROWS / 16; ++down) {
                a[down][0] = two(x, place.row_of(down, 0), pair);
                a[down][1] = two(x, place.row_of(down, 2), pair);
            }
#pragma unroll
            for (int across = 0; across < WARP_COLUMNS / 8 * 2; ++across) {
                const float2 b = two(y, place.column_of(across / 2, across % 2), pair);
#pragma unroll
                for (int down = 0; down < WARP_ROWS / 16; ++down) {
                    add_products(sums[down][across / 2][across % 2], a[down][0], b);
                    add_products(sums[down][across / 2][across % 2 + 2], a[down][1], b);
                }
            }
        }
    }

    static __device__ __forceinline__ float2 two(const unsigned char* side, int row, int pair) {
        return *reinterpret_cast<const float2*>(side + chunk_offset(row, pair / 2) + pair % 2 * 8);
    }

    static __device__ __forceinline__ void add_products(float& sum, const float2& a, const float2& b) {
        sum = fmaf(a.x, b.x, sum);
        sum = fmaf(a.y, b.y, sum);
    }
};

// In the order of `Arithmetic` in parameters.h.
using PlainFloat32 = PlainFloats;
using SplitFloat32 = TensorCores<SplitFloats, 1>;
using BFloat16s = TensorCores<Halves<BFloat16, mma_bf16>, 2>;
using Float16s = TensorCores<Halves<Float16, mma_f16>, 2>;

} // namespace pcsr::cuda
