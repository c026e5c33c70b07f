// Fibers on x86-64 and what sanitizers must know of them. ThreadSanitizer takes each for a thread of its own, ordered
// with the others by nothing but `release` and `acquire`, so that it names two accesses that no barrier separates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#ifndef __x86_64__
#    error "the emulation switches fibers on x86-64 only"
#endif

namespace emulation {

class Fiber {
public:
    explicit Fiber(void (*run)());
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

private:
    friend void enter_fiber(Fiber& fiber);
    friend void leave_fiber();
    void* pointer_ = nullptr;
    unsigned char* stack_ = nullptr;
    void* asan_ = nullptr;
    void* tsan_ = nullptr;
};

// Run `fiber` until it leaves; called by the scheduler, and by what runs inside.
void enter_fiber(Fiber& fiber);
void leave_fiber();

void release(void* what);
void acquire(void* what);

// Shared memory of one block, filled with NaN.
class SharedBlock {
public:
    explicit SharedBlock(std::size_t bytes);
    ~SharedBlock();
    unsigned char* data() { return data_; }
    // Free what no sanitizer needs any more.
    static void retire(std::vector<std::unique_ptr<SharedBlock>>& blocks);

private:
    unsigned char* data_;
};

} // namespace emulation
