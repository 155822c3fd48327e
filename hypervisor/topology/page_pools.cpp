#include "hypervisor/topology/page_pools.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace novalet::hypervisor::topology {
namespace {

namespace fs = std::filesystem;

Failure cannot_write(const fs::path& file, int number) {
    const Code code = number == ENOENT                      ? Code::NotFound
                      : number == EACCES || number == EPERM ? Code::Unauthorized
                                                            : Code::Unavailable;
    return fail(code, cat(file.string(), " cannot be written: ", errno_text(number)));
}

/// One write, as files of /sys want it; they cannot be replaced.
Result<void> write_value(const fs::path& file, const std::string& text) {
    const Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_TRUNC));
    if (!fd)
        return cannot_write(file, errno);
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return cannot_write(file, errno);
    return {};
}

} // namespace

std::vector<scheduler_hooks::claims::PoolNow> pools_of(const KernelState& kernel) {
    std::vector<scheduler_hooks::claims::PoolNow> out;
    for (const auto& [id, node] : kernel.nodes)
        for (const HugePagePool& pool : node.pools)
            out.push_back({id, pool.size_kib, pool.total, pool.free});
    return out;
}

std::vector<scheduler_hooks::numa::KernelPages> free_pages_of(const KernelState& kernel) {
    std::vector<scheduler_hooks::numa::KernelPages> out;
    for (const auto& [id, node] : kernel.nodes)
        for (const HugePagePool& pool : node.pools)
            out.push_back({id, pool.size_kib, pool.free});
    return out;
}

Result<std::int64_t>
resize_pool(int cell, std::uint64_t size_kib, std::int64_t pages, const fs::path& root) {
    if (pages < 0)
        return fail(Code::InvalidArgument, cat("a pool cannot have ", pages, " pages"));
    const fs::path file = root / "sys/devices/system/node" / cat("node", cell) / "hugepages" /
                          cat("hugepages-", size_kib, "kB") / "nr_hugepages";
    NOVALET_TRY(write_value(file, cat(pages, '\n')));
    NOVALET_ASSIGN(const auto text, read_file(file, 64));
    const auto now = to_number<std::int64_t>(trim(text));
    if (!now)
        return fail(Code::DataLoss, cat(file.string(), " holds '", trim(text), "', no number"));
    return *now;
}

} // namespace novalet::hypervisor::topology
