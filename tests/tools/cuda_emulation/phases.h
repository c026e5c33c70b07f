// Barriers in shared memory that count arrivals and bytes, boxes that are copied meanwhile, products that are summed
// meanwhile. Boxes arrive as late as a wait allows in the order forward, at once in reverse, by chance in random ones;
// products read their operands as late as the waits allow.
#pragma once

#include <cstdint>

namespace emulation {

// 16-bit values of a matrix, on their way to swizzled rows of 128 bytes.
struct Box {
    unsigned char* to;
    const unsigned char* from;
    std::int64_t row_bytes;
    int rows, rows_inside, bytes_inside; // the rest becomes zero
    void* barrier;
};

struct AsyncProduct {
    float* sums;
    std::uintptr_t a, b;
    float (*value)(std::uint16_t);
};

void start_phases(void* barrier, int arrivals);
void arrive_at(void* barrier, int bytes);
bool phase_ended(void* barrier, unsigned parity);
void sleep_until_change(void* barrier);

bool arrives_at_once();
void start_box(const Box& box);
bool next_box(void* barrier, Box& box);
void finish_box(const Box& box);

void start_product(const AsyncProduct& product);
void commit_products();
// The next product of all groups but the `pending` newest ones; false when there is none left.
bool next_product(int pending, AsyncProduct& product);

// The barrier of the block's first `count` threads.
void part_barrier(int count);

} // namespace emulation
