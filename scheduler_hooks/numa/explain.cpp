#include "scheduler_hooks/numa/explain.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/constraints.hpp"
#include "scheduler_hooks/numa/fit.hpp"
#include "scheduler_hooks/numa/usage.hpp"

#include <algorithm>
#include <exception>

namespace novalet::scheduler_hooks::numa {
namespace {

struct Question {
    model::HostTopology host;
    model::FlavorSpec flavor;
    model::ImageSpec image;
    std::optional<model::NumaLimits> limits;
    std::vector<model::PciRequest> requests;
    std::vector<model::PciPool> pools;
    std::optional<std::vector<KernelPages>> kernel_pages;
    FitOptions options;
    bool largest = false;
};

Result<Json> host_document(const Json& value) {
    if (!value.is_string())
        return value;
    return Json::parse(value.as_string());
}

/// A list holds requests (and pools, told apart by `spec`); an object has both by name.
Result<void> read_pci(const Json& document, Question& out) {
    const Json& pci = document["pci"];
    if (pci.is_object()) {
        NOVALET_ASSIGN(out.requests, model::pci_requests_from_json(pci["requests"]));
        NOVALET_ASSIGN(out.pools, model::pci_pools_from_json(pci["pools"]));
    } else {
        NOVALET_ASSIGN(out.requests, model::pci_requests_from_json(pci));
    }
    if (document["options"].contains("pci_pools")) {
        NOVALET_ASSIGN(out.pools, model::pci_pools_from_json(document["options"]["pci_pools"]));
    }
    return {};
}

/// The kernel's own count of free pages: [{"cell", "size_kb", "free"}].
Result<void> read_kernel_pages(const Json& list, Question& out) {
    if (list.is_null())
        return {};
    if (!list.is_array())
        return fail(Code::InvalidArgument, "options: kernel_pages: a list expected");
    out.kernel_pages.emplace();
    for (const Json& item : list.items()) {
        if (!item["cell"].is_integer() || item["size_kb"].as_int() <= 0 ||
            !item["free"].is_integer())
            return fail(Code::InvalidArgument,
                        cat("options: kernel_pages: {cell, size_kb, free} expected, found ",
                            cut_utf8(item.dump(), 80)));
        out.kernel_pages->push_back({static_cast<int>(item["cell"].as_int()),
                                     static_cast<std::uint64_t>(item["size_kb"].as_int()),
                                     item["free"].as_int()});
    }
    return {};
}

Result<Question> read(const Json& document) {
    if (!document.is_object())
        return fail(Code::InvalidArgument, "an object expected");
    Question out;
    NOVALET_ASSIGN(const Json host, host_document(document["host_topology"]));
    NOVALET_ASSIGN(out.host, model::host_topology_from_json(host));
    NOVALET_ASSIGN(out.flavor, model::flavor_from_json(document["flavor"]));
    NOVALET_ASSIGN(out.image, model::image_from_json(document["image"]));
    NOVALET_ASSIGN(out.limits, model::limits_from_json(document["limits"]));
    NOVALET_TRY(read_pci(document, out));
    const Json& options = document["options"];
    NOVALET_TRY(read_kernel_pages(options["kernel_pages"], out));
    out.options.packing = options["packing"].as_bool();
    out.options.avoid_pci_cells = options["avoid_pci_cells"].as_bool();
    out.largest = options["largest"].as_bool();
    return out;
}

FitInput fit_input(const Question& question, const model::GuestTopology& guest) {
    return {question.host,
            guest,
            question.limits ? &*question.limits : nullptr,
            &question.requests,
            &question.pools,
            question.kernel_pages ? &*question.kernel_pages : nullptr,
            question.options};
}

Json error_json(const std::string& exception, const std::string& message) {
    Json error = Json::object();
    error.set("class", exception);
    error.set("message", message);
    return error;
}

Json answer(bool fits, Json topology, Json usage, Json error, const std::vector<std::string>& why) {
    Json reasons = Json::array();
    for (const std::string& reason : why)
        reasons.push_back(reason);
    Json out = Json::object();
    out.set("fits", fits);
    out.set("topology", std::move(topology));
    out.set("usage", std::move(usage));
    out.set("error", std::move(error));
    out.set("reasons", std::move(reasons));
    return out;
}

Json failed(const Error& error) {
    return answer(
        false,
        {},
        {},
        error_json(error.exception.empty() ? "InvalidInput" : error.exception, error.text),
        {error.text});
}

/// Memory follows the vCPUs in proportion, rounded down to whole pages for each cell.
std::int64_t
scaled_memory(const model::FlavorSpec& flavor, const model::GuestTopology& guest, unsigned vcpus) {
    const auto cells = static_cast<std::int64_t>(guest.cells.size());
    const std::int64_t granule =
        cells * std::max<std::int64_t>(1, guest.cells.front().page_size_kib / 1024);
    return flavor.memory_mib * vcpus / flavor.vcpus / granule * granule;
}

Json largest(const Question& question, const model::GuestTopology& guest) {
    model::FlavorSpec flavor = question.flavor;
    for (unsigned vcpus = question.flavor.vcpus - 1; vcpus > 0; --vcpus) {
        flavor.vcpus = vcpus;
        flavor.memory_mib = scaled_memory(question.flavor, guest, vcpus);
        const auto asked = constraints(flavor, question.image);
        if (flavor.memory_mib == 0 || !asked || !*asked)
            continue;
        if (!fit_quietly(fit_input(question, **asked)))
            continue;
        Json out = Json::object();
        out.set("vcpus", vcpus);
        out.set("memory_mb", flavor.memory_mib);
        return out;
    }
    return {};
}

Json refused(const Question& question, const model::GuestTopology& guest, const Refusal& refusal) {
    const char* what = question.requests.empty()
                           ? "Requested instance NUMA topology cannot fit the given host NUMA "
                             "topology"
                           : "Requested instance NUMA topology together with requested PCI devices "
                             "cannot fit the given host NUMA topology";
    Json out =
        answer(false,
               {},
               {},
               error_json("ComputeResourcesUnavailable",
                          cat("Insufficient compute resources: ", what, ". ", refusal.summary)),
               refusal.lines());
    if (question.largest)
        out.set("largest", largest(question, guest));
    return out;
}

} // namespace

Json explain(const Json& document) {
    const Result<Question> question = read(document);
    if (!question)
        return failed(question.error());
    const auto guest = constraints(question->flavor, question->image);
    if (!guest)
        return failed(guest.error());
    // No cells on either side: nothing is tested and nothing counted (reference 08 §0.2).
    if (!*guest || question->host.empty())
        return answer(true, {}, model::to_json(question->host), {}, {});
    const FitResult result = fit(fit_input(*question, **guest));
    if (!result.topology)
        return refused(*question, **guest, *result.refusal);
    model::HostTopology after = question->host;
    if (const Result<void> counted = add_usage(after, *result.topology); !counted)
        return failed(counted.error());
    return answer(true, model::to_json(result.topology), model::to_json(after), {}, {});
}

std::string explain_line(std::string_view line) {
    // The border of one question: whatever goes wrong inside, the next line gets its answer.
    try {
        const Result<Json> document = Json::parse(line);
        if (!document)
            return failed(document.error()).dump();
        return explain(*document).dump();
    } catch (const std::exception& error) {
        return answer(false,
                      {},
                      {},
                      error_json("InternalError", error.what()),
                      {cat("internal error: ", error.what())})
            .dump();
    }
}

} // namespace novalet::scheduler_hooks::numa
