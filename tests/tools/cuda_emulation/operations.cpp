// What kernels call: barriers, warp operations, asynchronous copies. Compiled without sanitizers, as the scheduler is.
#include "machine.h"

#include <cstring>

namespace emulation {

namespace {

Thread& current() {
    return *machine.threads[machine.running];
}
Warp& warp() {
    return machine.block().warps[machine.in_block() / LANES];
}

} // namespace

const Index& thread_index() {
    return current().index;
}
const Index& block_index() {
    return machine.block().index;
}
const Index& block_size() {
    return machine.size;
}
const Index& grid_size() {
    return machine.grid;
}
int lane() {
    return machine.in_block() % LANES;
}
unsigned char* shared_memory() {
    return machine.block().shared;
}

int rank_in_cluster() {
    return machine.running / machine.count;
}

void* in_block(void* shared, int rank) {
    if (rank < 0 || rank >= static_cast<int>(machine.blocks.size())) {
        fail("cluster", "there is no block of this rank");
    }
    if (has_ended(rank)) {
        fail("cluster", "the block whose memory is meant has ended");
    }
    return machine.blocks[rank].shared + (static_cast<unsigned char*>(shared) - machine.block().shared);
}

void block_barrier() {
    Block& own = machine.block();
    char* handover = &own.handover[own.barriers % 2];
    release(handover);
    to_scheduler(State::at_block_barrier);
    acquire(handover);
}

void cluster_barrier() {
    char* handover = &machine.cluster_handover[machine.cluster_barriers % 2];
    release(handover);
    to_scheduler(State::at_cluster_barrier);
    acquire(handover);
}

Slot* meet(const char* operation, unsigned mask, const std::uint32_t* words, int count, Combine combine) {
    Warp& own = warp();
    const unsigned bit = 1u << lane();
    if (!(mask & bit)) {
        fail(operation, "the calling lane is not in the mask");
    }
    if (own.arrived == 0) {
        own.mask = mask;
        own.operation = operation;
    } else if (own.mask != mask || std::strcmp(own.operation, operation) != 0) {
        fail(operation, "lanes of one warp are at different operations");
    }
    Slot* slots = own.slots[own.parity];
    for (int k = 0; k < count; ++k) {
        slots[lane()][k] = words[k];
    }
    own.arrived |= bit;
    if (own.arrived != mask) {
        to_scheduler(State::at_warp_operation);
        return slots;
    }
    if (combine) {
        combine(slots);
    }
    own.arrived = 0;
    own.parity ^= 1;
    const int first = machine.in_block() / LANES * LANES;
    for (int other = 0; other < LANES && first + other < machine.count; ++other) {
        Thread& thread = *machine.threads[machine.first_thread() + first + other];
        if (mask >> other & 1u && thread.state == State::at_warp_operation) {
            thread.state = State::ready;
        }
    }
    return slots;
}

const std::uint32_t* exchange(const char* operation, unsigned mask, std::uint32_t word) {
    static thread_local std::uint32_t seen[LANES];
    const Slot* slots = meet(operation, mask, &word, 1);
    for (int other = 0; other < LANES; ++other) {
        seen[other] = slots[other][0];
    }
    return seen;
}

void warp_barrier(unsigned mask) {
    Warp& own = warp();
    char* handover = &own.handover[own.parity];
    release(handover);
    meet("__syncwarp", mask, nullptr, 0);
    acquire(handover);
}

void start_copy(void* to, const void* from, int valid) {
    current().copies.back().push_back(
        {static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), valid});
}

void commit_copies() {
    current().copies.emplace_back();
}

bool next_arrival(int pending, Copy& copy) {
    auto& groups = current().copies;
    while (static_cast<int>(groups.size()) > pending + 1) {
        auto& oldest = groups.front();
        if (oldest.empty()) {
            groups.pop_front();
            continue;
        }
        copy = oldest.back();
        oldest.pop_back();
        return true;
    }
    return false;
}

} // namespace emulation
