// What sm_90a adds to the emulation. Compiled without sanitizers, as the scheduler is.
#include "phases.h"

#include "machine.h"

namespace emulation {

namespace {

Thread& current() {
    return *machine.threads[machine.running];
}

// Those of a barrier, or with null a free place.
Phases& phases_of(void* barrier) {
    for (Phases& phases : machine.phases) {
        if (phases.barrier == barrier) {
            return phases;
        }
    }
    fail("mbarrier", barrier ? "it was not started" : "more of them than the emulation holds");
}

void wake(void* barrier) {
    for (int i = 0; i < machine.together(); ++i) {
        Thread& thread = *machine.threads[i];
        if (thread.state == State::at_phase && thread.waits_for == barrier) {
            thread.state = State::ready;
        }
    }
}

void end_phase_if_complete(void* barrier, Phases& phases) {
    if (phases.missing == 0 && phases.bytes == 0) {
        phases.missing = phases.arrivals;
        phases.parity ^= 1;
        wake(barrier);
    }
}

} // namespace

void start_phases(void* barrier, int arrivals) {
    if (reinterpret_cast<std::uintptr_t>(barrier) % 8) {
        fail("mbarrier", "an address is not a multiple of 8");
    }
    Phases& phases = phases_of(nullptr);
    phases.barrier = barrier;
    phases.parity = 0;
    phases.bytes = 0;
    phases.arrivals = phases.missing = arrivals;
}

void arrive_at(void* barrier, int bytes) {
    Phases& phases = phases_of(barrier);
    if (phases.missing == 0) {
        fail("mbarrier", "more arrivals than its phase takes");
    }
    release(&phases.handover);
    --phases.missing;
    phases.bytes += bytes;
    end_phase_if_complete(barrier, phases);
}

bool phase_ended(void* barrier, unsigned parity) {
    Phases& phases = phases_of(barrier);
    if (phases.parity == parity) {
        return false;
    }
    acquire(&phases.handover);
    return true;
}

void sleep_until_change(void* barrier) {
    current().waits_for = barrier;
    to_scheduler(State::at_phase);
}

bool arrives_at_once() {
    return machine.order == "reverse" || (machine.order != "forward" && machine.random() % 2);
}

void start_box(const Box& box) {
    Phases& phases = phases_of(box.barrier);
    release(&phases.under_way);
    for (Box& slot : machine.boxes) {
        if (!slot.barrier) {
            slot = box;
            wake(box.barrier);
            return;
        }
    }
    fail("cp.async.bulk.tensor", "more copies under way than the emulation holds");
}

bool next_box(void* barrier, Box& box) {
    for (Box& slot : machine.boxes) {
        if (slot.barrier == barrier) {
            box = slot;
            slot.barrier = nullptr;
            acquire(&phases_of(barrier).under_way);
            return true;
        }
    }
    return false;
}

void finish_box(const Box& box) {
    Phases& phases = phases_of(box.barrier);
    release(&phases.handover);
    phases.bytes -= box.rows * 128;
    end_phase_if_complete(box.barrier, phases);
}

void start_product(const AsyncProduct& product) {
    current().products.back().push_back(product);
}

void commit_products() {
    current().products.emplace_back();
}

bool next_product(int pending, AsyncProduct& product) {
    auto& groups = current().products;
    while (static_cast<int>(groups.size()) > pending + 1) {
        auto& oldest = groups.front();
        if (oldest.empty()) {
            groups.pop_front();
            continue;
        }
        product = oldest.front();
        oldest.erase(oldest.begin());
        return true;
    }
    return false;
}

void part_barrier(int count) {
    if (machine.in_block() >= count) {
        fail("bar.sync", "a thread that the barrier does not count");
    }
    Block& own = machine.block();
    char* handover = &own.part_handover[own.part_barriers % 2];
    release(handover);
    if (++own.at_part_barrier == count) {
        own.at_part_barrier = 0;
        ++own.part_barriers;
        for (int i = 0; i < count; ++i) {
            Thread& thread = *machine.threads[machine.first_thread() + i];
            thread.state = thread.state == State::at_part_barrier ? State::ready : thread.state;
        }
    } else {
        to_scheduler(State::at_part_barrier);
    }
    acquire(handover);
}

} // namespace emulation
