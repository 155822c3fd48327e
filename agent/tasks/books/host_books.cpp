#include "agent/tasks/books/host_books.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {

std::filesystem::path host_books_path(const std::filesystem::path& state_path) {
    return state_path / "novalet" / "host.json";
}

Result<void> write_host_books(const std::filesystem::path& file, const HostBooks& books) {
    Json document = Json::object();
    document.set("written_at", books.written_at);
    document.set("numa_topology", books.numa_topology);
    document.set("cpu_allocation_ratio", books.cpu_allocation_ratio);
    document.set("ram_allocation_ratio", books.ram_allocation_ratio);
    std::error_code error;
    std::filesystem::create_directories(file.parent_path(), error);
    return write_file_atomically(file, document.dump() + "\n");
}

Result<HostBooks> read_host_books(const std::filesystem::path& file) {
    NOVALET_ASSIGN(const auto text, read_file(file));
    const auto document = Json::parse(trim(text));
    if (!document)
        return fail(Code::DataLoss, cat(file.string(), ": ", document.error().text));
    if (!document->contains("numa_topology") || !(*document)["written_at"].is_integer())
        return fail(Code::DataLoss, cat(file.string(), " holds no books of a host"));
    HostBooks books;
    books.written_at = (*document)["written_at"].as_int();
    books.numa_topology = (*document)["numa_topology"];
    books.cpu_allocation_ratio = (*document)["cpu_allocation_ratio"].as_double(1);
    books.ram_allocation_ratio = (*document)["ram_allocation_ratio"].as_double(1);
    return books;
}

} // namespace novalet::tasks
