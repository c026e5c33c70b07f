// The scheduler of the emulation. Compiled without sanitizers: what it tells them stands in fibers.h.
#include "machine.h"

#include <algorithm>
#include <cstdlib>

namespace emulation {

Machine machine;

void to_scheduler(State state) {
    machine.threads[machine.running]->state = state;
    leave_fiber();
}

namespace {

void run_thread() {
    for (;;) {
        acquire(&machine.begin);
        (*machine.body)();
        release(&machine.end);
        to_scheduler(State::done);
    }
}

std::vector<int> first_order(int count, const std::string& order) {
    std::vector<int> numbers(count);
    for (int i = 0; i < count; ++i) {
        numbers[i] = order == "reverse" ? count - 1 - i : i;
    }
    return numbers;
}

std::string wanted_order() {
    const char* order = std::getenv("PCSR_EMULATION_ORDER");
    return order ? order : "forward";
}

void describe_deadlock() {
    int waiting = 0, done = 0, phases = 0;
    for (int i = 0; i < machine.count; ++i) {
        const State state = machine.threads[i]->state;
        waiting += state == State::at_block_barrier || state == State::at_part_barrier;
        phases += state == State::at_phase;
        done += state == State::done;
    }
    machine.error = "block " + std::to_string(machine.block.x) + ": of " + std::to_string(machine.count) + " threads " +
                    std::to_string(waiting) + " wait at __syncthreads, " + std::to_string(done) + " have ended, " +
                    std::to_string(phases) + " wait for an mbarrier, " +
                    std::to_string(machine.count - waiting - done - phases) + " wait in a warp operation";
    machine.code = KERNEL_ERROR;
    machine.failed = true;
}

// One turn of every thread that can run; false if none could.
bool run_turn(std::vector<int>& order, bool shuffle) {
    if (shuffle) {
        std::shuffle(order.begin(), order.end(), machine.random);
    }
    bool ran = false;
    for (const int number : order) {
        Thread& thread = *machine.threads[number];
        if (thread.state == State::ready) {
            ran = true;
            machine.running = number;
            enter_fiber(*thread.fiber);
            if (machine.failed) {
                return false;
            }
        }
    }
    return ran;
}

bool release_barrier() {
    for (int i = 0; i < machine.count; ++i) {
        if (machine.threads[i]->state != State::at_block_barrier) {
            return false;
        }
    }
    for (int i = 0; i < machine.count; ++i) {
        machine.threads[i]->state = State::ready;
    }
    ++machine.barriers;
    return true;
}

bool all_done() {
    return std::all_of(machine.threads.begin(), machine.threads.begin() + machine.count,
                       [](const auto& thread) { return thread->state == State::done; });
}

void run_block(std::size_t shared, const std::string& order) {
    machine.shared.push_back(std::make_unique<SharedBlock>(shared));
    machine.warps.assign((machine.count + LANES - 1) / LANES, Warp());
    machine.barriers = machine.part_barriers = machine.at_part_barrier = 0;
    for (Phases& phases : machine.phases) {
        phases.barrier = nullptr;
    }
    for (Box& box : machine.boxes) {
        box.barrier = nullptr;
    }
    for (int i = 0; i < machine.count; ++i) {
        machine.threads[i]->state = State::ready;
        machine.threads[i]->copies.assign(1, {});
        machine.threads[i]->products.assign(1, {});
    }
    release(&machine.begin);
    std::vector<int> numbers = first_order(machine.count, order);
    const bool shuffle = order.rfind("random", 0) == 0;
    while (!all_done()) {
        if (!run_turn(numbers, shuffle) && !machine.failed && !release_barrier()) {
            describe_deadlock();
        }
        if (machine.failed) {
            return;
        }
    }
    if (std::any_of(std::begin(machine.boxes), std::end(machine.boxes), [](const Box& box) { return box.barrier; })) {
        machine.error = "block " + std::to_string(machine.block.x) + " has ended before its copies";
        machine.code = KERNEL_ERROR;
        machine.failed = true;
    }
    machine.shared.back()->retire(machine.shared);
}

void prepare(int threads) {
    while (static_cast<int>(machine.threads.size()) < threads) {
        machine.threads.push_back(std::make_unique<Thread>());
        Thread& made = *machine.threads.back();
        made.index = {static_cast<unsigned>(machine.threads.size() - 1), 0, 0};
    }
    for (int i = 0; i < threads; ++i) {
        if (!machine.threads[i]->fiber) {
            machine.threads[i]->fiber = std::make_unique<Fiber>(run_thread);
        }
    }
}

} // namespace

int take_error() {
    const int code = machine.code;
    machine.code = 0;
    return code;
}

const char* message(int error) {
    return error == 0 ? "no error" : machine.error.empty() ? "invalid argument" : machine.error.c_str();
}

void fail(const char* operation, const char* what) {
    machine.error = std::string(operation) + ": " + what + " (block " + std::to_string(machine.block.x) + ", thread " +
                    std::to_string(machine.running) + ")";
    machine.code = KERNEL_ERROR;
    machine.failed = true;
    leave_fiber();
    std::abort();
}

void launch(std::int64_t blocks, int threads, std::size_t shared, const std::function<void()>& body) {
    machine.error.clear();
    machine.code = 0;
    machine.failed = false;
    if (threads < 1 || threads > MOST_THREADS || blocks < 1 || blocks > 0x7fffffff) {
        machine.error = "invalid configuration argument";
        machine.code = BAD_CONFIGURATION;
        return;
    }
    prepare(threads);
    machine.count = threads;
    machine.body = &body;
    machine.size = {static_cast<unsigned>(threads), 1, 1};
    machine.grid = {static_cast<unsigned>(blocks), 1, 1};
    const std::string order = machine.order = wanted_order();
    const auto colon = order.find(':');
    machine.random.seed(colon == std::string::npos ? 0u : std::stoul(order.substr(colon + 1)));
    std::vector<int> numbers = first_order(static_cast<int>(blocks), order);
    if (order.rfind("random", 0) == 0) {
        std::shuffle(numbers.begin(), numbers.end(), machine.random);
    }
    for (const int number : numbers) {
        machine.block = {static_cast<unsigned>(number), 0, 0};
        run_block(shared, order);
        if (machine.failed) {
            machine.threads.clear(); // fibers that stopped halfway
            break;
        }
    }
    acquire(&machine.end);
    machine.shared.clear();
}

} // namespace emulation
