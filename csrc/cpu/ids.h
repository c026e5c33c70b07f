// Group ids as wide as the scores they mask, padded to whole panels.
#pragma once

#include "search.h"

#include <limits>
#include <numeric>
#include <unordered_map>
#include <vector>

namespace pcsr {

template <typename T>
struct Ids {
    std::vector<Index<T>> rows;
    std::vector<Index<T>> columns;
};

// Ids that do not fit are numbered anew; which pairs share one stays as it is.
template <typename T>
Ids<T> ids_of(const Groups& groups, std::int64_t rows, std::int64_t columns, std::int64_t padded_columns) {
    std::unordered_map<std::int64_t, Index<T>> numbers;
    const auto convert = [&](const std::int64_t* from, std::int64_t count, std::int64_t padded) {
        std::vector<Index<T>> ids(static_cast<std::size_t>(padded));
        if (from == nullptr) {
            std::iota(ids.begin(), ids.end(), Index<T>(0));
            return ids;
        }
        for (std::int64_t i = 0; i < count; ++i) {
            ids[i] = sizeof(T) == sizeof(from[i])
                         ? static_cast<Index<T>>(from[i])
                         : numbers.try_emplace(from[i], static_cast<Index<T>>(numbers.size())).first->second;
        }
        return ids;
    };
    return {convert(groups.rows, rows, rows), convert(groups.columns, columns, padded_columns)};
}

} // namespace pcsr
