#include "fibers.h"

#include <cstdlib>

#ifdef PCSR_EMULATION_ASAN
extern "C" void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, std::size_t* size_old);
#endif
#ifdef PCSR_EMULATION_TSAN
extern "C" void* __tsan_get_current_fiber();
extern "C" void* __tsan_create_fiber(unsigned flags);
extern "C" void __tsan_destroy_fiber(void* fiber);
extern "C" void __tsan_switch_to_fiber(void* fiber, unsigned flags);
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

// Saves the registers that a call preserves and the stack, and continues where the other stack was left.
asm(R"(
.text
.type pcsr_switch_stack, @function
pcsr_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size pcsr_switch_stack, .-pcsr_switch_stack
)");
extern "C" void pcsr_switch_stack(void** from, void* to);

namespace emulation {

namespace {

constexpr std::size_t STACK = 256 << 10;
constexpr std::size_t ALIGNMENT = 1024; // of shared memory
constexpr int SAVED_REGISTERS = 6;

struct Scheduler {
    void* pointer = nullptr;
    Fiber* running = nullptr;
    void (*run)() = nullptr;
    [[maybe_unused]] void* fake_stack = nullptr;
    [[maybe_unused]] const void* bottom = nullptr;
    [[maybe_unused]] std::size_t size = 0;
    [[maybe_unused]] void* tsan = nullptr;
};

Scheduler scheduler;

// What a new fiber runs first.
void start() {
#ifdef PCSR_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size);
#endif
    scheduler.run();
    std::abort();
}

} // namespace

Fiber::Fiber(void (*run)()) : stack_(static_cast<unsigned char*>(std::malloc(STACK))) {
    scheduler.run = run;
    auto top = reinterpret_cast<std::uintptr_t>(stack_ + STACK) & ~std::uintptr_t{15};
    auto* words = reinterpret_cast<void**>(top) - 1; // so that the stack is aligned as after a call
    *--words = reinterpret_cast<void*>(&start);
    for (int k = 0; k < SAVED_REGISTERS; ++k) {
        *--words = nullptr;
    }
    pointer_ = words;
#ifdef PCSR_EMULATION_TSAN
    tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef PCSR_EMULATION_TSAN
    __tsan_destroy_fiber(tsan_);
#endif
    std::free(stack_);
}

void enter_fiber(Fiber& fiber) {
    scheduler.running = &fiber;
#ifdef PCSR_EMULATION_ASAN
    __sanitizer_start_switch_fiber(&scheduler.fake_stack, fiber.stack_, STACK);
#endif
#ifdef PCSR_EMULATION_TSAN
    scheduler.tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber.tsan_, 1); // 1: that the switch orders nothing
#endif
    pcsr_switch_stack(&scheduler.pointer, fiber.pointer_);
#ifdef PCSR_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

void leave_fiber() {
    Fiber& fiber = *scheduler.running;
#ifdef PCSR_EMULATION_ASAN
    __sanitizer_start_switch_fiber(&fiber.asan_, scheduler.bottom, scheduler.size);
#endif
#ifdef PCSR_EMULATION_TSAN
    __tsan_switch_to_fiber(scheduler.tsan, 1);
#endif
    pcsr_switch_stack(&fiber.pointer_, scheduler.pointer);
#ifdef PCSR_EMULATION_ASAN
    __sanitizer_finish_switch_fiber(fiber.asan_, &scheduler.bottom, &scheduler.size);
#endif
}

void release([[maybe_unused]] void* what) {
#ifdef PCSR_EMULATION_TSAN
    __tsan_release(what);
#endif
}

void acquire([[maybe_unused]] void* what) {
#ifdef PCSR_EMULATION_TSAN
    __tsan_acquire(what);
#endif
}

SharedBlock::SharedBlock(std::size_t bytes) {
    void* made = nullptr; // no byte more, so that a sanitizer sees what lies beyond
    if (posix_memalign(&made, ALIGNMENT, bytes)) {
        std::abort();
    }
    data_ = static_cast<unsigned char*>(made);
    for (std::size_t k = 0; k < bytes; ++k) {
        reinterpret_cast<volatile unsigned char*>(data_)[k] = 0xff;
    }
}

SharedBlock::~SharedBlock() {
    std::free(data_);
}

void SharedBlock::retire([[maybe_unused]] std::vector<std::unique_ptr<SharedBlock>>& blocks) {
#ifndef PCSR_EMULATION_TSAN
    blocks.pop_back(); // ThreadSanitizer would take the same memory in the next block for the same variables
#endif
}

} // namespace emulation
