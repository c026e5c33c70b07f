#include "gru.h"

#include "attention_lanes.h"
#include "math.h"

namespace pcsr::PCSR_ISA {
namespace {

// What lies beyond `count` values is another gate's or row's, that another thread may be writing.
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

void forward(const GruForward& given) {
    const std::int64_t size = given.size;
    for (std::int64_t row = 0; row < given.rows; ++row) {
        float* const gates = given.gates + row * 4 * size;
        float* const state = given.state.row(row);
        for (std::int64_t unit = 0; unit < size; unit += step) {
            const std::int64_t count = size - unit;
            V hidden[3];
#pragma GCC unroll 3
            for (int gate = 0; gate < 3; ++gate) {
                hidden[gate] = load_some(given.bias + gate * size + unit, count);
                if (row < given.known) {
                    hidden[gate] += load(given.products.row(row) + gate * size + unit);
                }
            }
            const V r = sigmoid(load_some(gates + size + unit, count) + hidden[0]);
            const V z = sigmoid(load_some(gates + 2 * size + unit, count) + hidden[1]);
            const V candidate = tanh(load_some(gates + unit, count) + r * hidden[2]);
            const V here = load(state + unit), next = candidate + z * (here - candidate);
            store_some(gates + unit, candidate, count);
            store_some(gates + size + unit, r, count);
            store_some(gates + 2 * size + unit, z, count);
            store_some(gates + 3 * size + unit, hidden[2], count);
            store_some(given.before + row * size + unit, here, count);
            store_some(given.hidden + row * size + unit, next, count);
            store_some(state + unit, next, count);
        }
    }
}

void backward(const GruBackward& given) {
    const std::int64_t size = given.size;
    for (std::int64_t row = 0; row < given.rows; ++row) {
        const float* const gates = given.gates + row * 4 * size;
        const float* const upstream = given.upstream + row * given.upstream_stride;
        float* const found = given.found + row * 4 * size;
        float* const of_parts = given.of_parts.row(row);
        float* const carried = given.carried.row(row);
        for (std::int64_t unit = 0; unit < size; unit += step) {
            const std::int64_t count = size - unit;
            const V candidate = load_some(gates + unit, count), r = load_some(gates + size + unit, count);
            const V z = load_some(gates + 2 * size + unit, count), kept = load_some(gates + 3 * size + unit, count);
            const V before = load_some(given.before + row * size + unit, count);
            const V all = load(carried + unit) + load_some(upstream + unit, count);
            const V of_z = all * (before - candidate) * z * (1 - z);
            const V of_candidate = all * (1 - z) * (1 - candidate * candidate);
            const V parts[3] = {of_candidate * kept * r * (1 - r), of_z, of_candidate * r};
            store_some(found + unit, of_candidate, count);
#pragma GCC unroll 3
            for (int gate = 0; gate < 3; ++gate) {
                store_some(found + (gate + 1) * size + unit, parts[gate], count);
                store_some(of_parts + gate * size + unit, parts[gate], count);
            }
            store_some(carried + unit, all * z, count);
        }
    }
}

} // namespace

extern constexpr GruKernels gru = {forward, backward};

} // namespace pcsr::PCSR_ISA
