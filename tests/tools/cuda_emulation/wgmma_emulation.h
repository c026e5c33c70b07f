// The functions of kernels/cuda/wgmma.cuh in C++. The products of a warpgroup are shared by its threads just as the
// sums are; operands are read through the swizzle, by address, as the hardware does.
#pragma once

#include "mma_emulation.h"
#include "phases.h"

namespace pcsr::cuda {

using Barrier = unsigned long long;

inline void start_barrier(Barrier* barrier, int arrivals) {
    emulation::start_phases(barrier, arrivals);
}
inline void publish_barriers() {}
inline void arrive_and_expect(Barrier* barrier, int bytes) {
    emulation::arrive_at(barrier, bytes);
}

inline std::uintptr_t swizzled(std::uintptr_t address) {
    return address ^ (address >> 7 & 7) << 4;
}

inline void copy(const emulation::Box& box) {
    for (int row = 0; row < box.rows; ++row) {
        for (int byte = 0; byte < SWIZZLE_BYTES; ++byte) {
            const bool inside = row < box.rows_inside && byte < box.bytes_inside;
            auto* to = reinterpret_cast<unsigned char*>(
                swizzled(reinterpret_cast<std::uintptr_t>(box.to + row * SWIZZLE_BYTES + byte)));
            *to = inside ? box.from[row * box.row_bytes + byte] : 0;
        }
    }
    emulation::finish_box(box);
}

inline void wait_phase(Barrier* barrier, unsigned parity) {
    emulation::Box box;
    while (!emulation::phase_ended(barrier, parity)) {
        if (emulation::next_box(barrier, box)) {
            copy(box);
        } else {
            emulation::sleep_until_change(barrier);
        }
    }
}

inline int held(std::int64_t wanted, int most) {
    return wanted < 0 ? 0 : wanted < most ? static_cast<int>(wanted) : most;
}

inline int rank_in_cluster() {
    return emulation::rank_in_cluster();
}
inline void sync_cluster() {
    emulation::cluster_barrier();
}
inline void arrive_in(Barrier* barrier, int rank) {
    emulation::arrive_at(emulation::in_block(barrier, rank), 0);
}

inline void copy_box(void* shared, const CUtensorMap& map, int column, int row, Barrier* barrier) {
    if (reinterpret_cast<std::uintptr_t>(shared) % SWIZZLE_ALIGNMENT) {
        emulation::fail("cp.async.bulk.tensor", "an address is not a multiple of 1024");
    }
    const emulation::Box box{static_cast<unsigned char*>(shared),
                             map.data + row * map.row_bytes + column * 2,
                             map.row_bytes,
                             map.box_rows,
                             held(map.rows - row, map.box_rows),
                             held((map.columns - column) * 2, SWIZZLE_BYTES),
                             barrier};
    if (emulation::arrives_at_once()) {
        copy(box);
    } else {
        emulation::start_box(box);
    }
}

inline void copy_box_to(void* shared, const CUtensorMap& map, int column, int row, Barrier* barrier, int ranks) {
    for (int rank = 0; ranks >> rank; ++rank) {
        if (ranks >> rank & 1) {
            copy_box(emulation::in_block(shared, rank), map, column, row,
                     static_cast<Barrier*>(emulation::in_block(barrier, rank)));
        }
    }
}

inline void sync_consumers() {
    emulation::part_barrier(256);
}

inline std::uint64_t describe_rows(const void* shared) {
    return reinterpret_cast<std::uintptr_t>(shared);
}

inline void start_products() {}
inline void commit_products() {
    emulation::commit_products();
}

// A row's 16 values from the address on.
inline void read_row(float (&values)[16], std::uintptr_t start, int row, float (*value)(std::uint16_t)) {
    for (int k = 0; k < 16; k += 2) {
        const auto word = *reinterpret_cast<const std::uint32_t*>(swizzled(start + row * SWIZZLE_BYTES + k * 2));
        values[k] = value(static_cast<std::uint16_t>(word));
        values[k + 1] = value(static_cast<std::uint16_t>(word >> 16));
    }
}

inline void sum_products(const emulation::AsyncProduct& product) {
    const int lane = emulation::lane(), warp = thread_now() / 32 % 4;
    float rows[2][16], column[16];
    for (int half = 0; half < 2; ++half) {
        read_row(rows[half], product.a, warp * 16 + lane / 4 + half * 8, product.value);
    }
    for (int j = 0; j < WGMMA_COLUMNS / 8; ++j) {
        for (int side = 0; side < 2; ++side) {
            read_row(column, product.b, j * 8 + lane % 4 * 2 + side, product.value);
            for (int half = 0; half < 2; ++half) {
                float& sum = product.sums[j * 4 + half * 2 + side];
                for (int k = 0; k < 16; ++k) {
                    sum += rows[half][k] * column[k];
                }
            }
        }
    }
}

template <int PENDING>
void wait_products(WideSums&) {
    emulation::AsyncProduct product;
    while (emulation::next_product(PENDING, product)) {
        sum_products(product);
    }
    emulation::warp_barrier(0xffffffffu); // the instruction is the whole warp's
}

inline void wgmma(WideSums& sums, std::uint64_t a, std::uint64_t b, float (*value)(std::uint16_t)) {
    const std::uint32_t words[4] = {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32),
                                    static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32)};
    const auto* slots = emulation::meet("wgmma", 0xffffffffu, words, 4);
    if (__builtin_memcmp(slots[0], words, sizeof(words))) {
        emulation::fail("wgmma", "lanes of one warp name different operands");
    }
    emulation::start_product({&sums[0][0], static_cast<std::uintptr_t>(a), static_cast<std::uintptr_t>(b), value});
}

inline float bf16_to_float(std::uint16_t bits) {
    return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}

inline void wgmma_bf16(WideSums& sums, std::uint64_t a, std::uint64_t b) {
    wgmma(sums, a, b, bf16_to_float);
}
inline void wgmma_f16(WideSums& sums, std::uint64_t a, std::uint64_t b) {
    wgmma(sums, a, b, half_to_float);
}

} // namespace pcsr::cuda
