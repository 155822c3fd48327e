#pragma once
// The host's books as a file: what `novalet explain` reads instead of asking the running agent.
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <cstdint>
#include <filesystem>

namespace novalet::tasks {

struct HostBooks {
    std::int64_t written_at = 0;     ///< seconds since 1970
    Json numa_topology;              ///< document with usage, or null
    double cpu_allocation_ratio = 1; ///< of the ComputeNode record: what the scheduler goes by
    double ram_allocation_ratio = 1;
};

[[nodiscard]] std::filesystem::path host_books_path(const std::filesystem::path& state_path);
/// Readable by everybody on the host: it holds no secrets. All or nothing.
[[nodiscard]] Result<void> write_host_books(const std::filesystem::path& file,
                                            const HostBooks& books);
/// NotFound: the agent has written none. DataLoss for another content.
[[nodiscard]] Result<HostBooks> read_host_books(const std::filesystem::path& file);

} // namespace novalet::tasks
