#include "gru.h"

#include "attention_lanes.h"
#include "math.h"
#include "product_tile.h"

namespace pcsr::PCSR_ISA {
namespace {

constexpr int panel = tile_vectors * step;

// What lies beyond `count` values is another gate's, that another thread may be writing.
PCSR_INLINE V load_some(const float* from, std::int64_t count) {
    if (count >= step) {
        return load(from);
    }
    V values{};
    for (std::int64_t lane = 0; lane < count; ++lane) {
        values[lane] = from[lane];
    }
    return values;
}

PCSR_INLINE void store_some(float* to, V values, std::int64_t count) {
    if (count >= step) {
        return store(to, values);
    }
    for (std::int64_t lane = 0; lane < count; ++lane) {
        to[lane] = values[lane];
    }
}

void forward(const GruPart& part, const GruForward& given) {
    const std::int64_t size = part.size;
    for (std::int64_t done = 0; done < part.columns; done += step) {
        const std::int64_t count = part.columns - done, unit = part.first + done;
        V bias[3];
        for (int gate = 0; gate < 3; ++gate) {
            bias[gate] = load_some(given.bias + gate * size + unit, count);
        }
        for (std::int64_t row = 0; row < part.rows; ++row) {
            V hidden[3] = {bias[0], bias[1], bias[2]};
            if (row < given.known) {
#pragma GCC unroll 3
                for (int gate = 0; gate < 3; ++gate) {
                    hidden[gate] += load(given.products + (gate * given.known + row) * panel + done);
                }
            }
            float* const gates = given.gates + row * 4 * size + unit;
            float* const state = given.state.row(row) + unit;
            const V r = sigmoid(load_some(gates + size, count) + hidden[0]);
            const V z = sigmoid(load_some(gates + 2 * size, count) + hidden[1]);
            const V candidate = tanh(load_some(gates, count) + r * hidden[2]);
            const V here = load(state), next = candidate + z * (here - candidate);
            store_some(gates, candidate, count);
            store_some(gates + size, r, count);
            store_some(gates + 2 * size, z, count);
            store_some(gates + 3 * size, hidden[2], count);
            store_some(given.before + row * size + unit, here, count);
            store_some(given.hidden + row * size + unit, next, count);
            store_some(state, next, count);
        }
    }
}

void backward(const GruPart& part, const GruBackward& given) {
    const std::int64_t size = part.size;
    for (std::int64_t done = 0; done < part.columns; done += step) {
        const std::int64_t count = part.columns - done, unit = part.first + done;
        for (std::int64_t row = 0; row < part.rows; ++row) {
            const float* const gates = given.gates + row * 4 * size + unit;
            const V candidate = load_some(gates, count), r = load_some(gates + size, count);
            const V z = load_some(gates + 2 * size, count), kept = load_some(gates + 3 * size, count);
            float* const carried = given.carried.row(row) + unit;
            const V upstream = load(carried) + load_some(given.upstream + row * given.upstream_stride + unit, count);
            const V before = load_some(given.before + row * size + unit, count);
            const V of_z = upstream * (before - candidate) * z * (1 - z);
            const V of_candidate = upstream * (1 - z) * (1 - candidate * candidate);
            const V of_r = of_candidate * kept * r * (1 - r), of_kept = of_candidate * r;
            float* const found = given.found + row * 4 * size + unit;
            float* const of_parts = given.of_parts.row(row) + unit;
            store_some(found, of_candidate, count);
            const V parts[3] = {of_r, of_z, of_kept};
#pragma GCC unroll 3
            for (int gate = 0; gate < 3; ++gate) {
                store_some(found + (gate + 1) * size, parts[gate], count);
                store_some(of_parts + gate * size, parts[gate], count);
            }
            store(carried, upstream * z);
        }
    }
}

} // namespace

extern constexpr GruKernels gru = {forward, backward};

} // namespace pcsr::PCSR_ISA
