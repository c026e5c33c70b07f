// mma.sync of a whole warp: the fragments of its lanes to matrices, the product, the result back to the lanes.
#include "mma_emulation.h"

namespace pcsr::cuda {

namespace {

float bf16_value(std::uint32_t word, int half) {
    return __builtin_bit_cast(float, half ? word & 0xffff0000u : word << 16);
}
float f16_value(std::uint32_t word, int half) {
    return half_to_float(static_cast<std::uint16_t>(half ? word >> 16 : word));
}
// Tensor cores ignore the low 13 bits of a tf32 operand.
float tf32_value(std::uint32_t word, int) {
    return __builtin_bit_cast(float, word & 0xffffe000u);
}

// PER_WORD values a register: K = 16 halves or 8 floats. Lane 4 g + t holds, with p = PER_WORD,
// a: rows g and g + 8 (registers 0 and 1), columns p t.. ; the same p K/2p further in registers 2 and 3;
// b: column g, rows p t.. and further; c: rows g and g + 8, columns 2 t and 2 t + 1.
template <int PER_WORD, float (*VALUE)(std::uint32_t, int)>
void multiply(emulation::Slot* slots) {
    constexpr int K = 8 * PER_WORD;
    float a[16][K], b[8][K];
    for (int lane = 0; lane < 32; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int part = 0; part < PER_WORD; ++part) {
            for (int reg = 0; reg < 4; ++reg) {
                a[g + reg % 2 * 8][reg / 2 * K / 2 + t * PER_WORD + part] = VALUE(slots[lane][reg], part);
            }
            for (int reg = 0; reg < 2; ++reg) {
                b[g][reg * K / 2 + t * PER_WORD + part] = VALUE(slots[lane][4 + reg], part);
            }
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        for (int reg = 0; reg < 4; ++reg) {
            const int row = lane / 4 + reg / 2 * 8, column = lane % 4 * 2 + reg % 2;
            float sum = __builtin_bit_cast(float, slots[lane][6 + reg]);
            for (int k = 0; k < K; ++k) {
                sum += a[row][k] * b[column][k];
            }
            slots[lane][6 + reg] = __builtin_bit_cast(std::uint32_t, sum);
        }
    }
}

} // namespace

void multiply_bf16(emulation::Slot* slots) {
    multiply<2, bf16_value>(slots);
}
void multiply_f16(emulation::Slot* slots) {
    multiply<2, f16_value>(slots);
}
void multiply_tf32(emulation::Slot* slots) {
    multiply<1, tf32_value>(slots);
}

} // namespace pcsr::cuda
