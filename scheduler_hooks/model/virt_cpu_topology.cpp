#include "scheduler_hooks/model/virt_cpu_topology.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/model/flavor_image.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace novalet::scheduler_hooks::model {
namespace {

/// Sockets, cores, threads; 0 = not set. Negative values are possible and never met.
using Triple = std::array<std::int64_t, 3>;
constexpr std::array<const char*, 3> dimensions{"sockets", "cores", "threads"};
constexpr std::int64_t unlimited = 65536;

std::optional<std::int64_t> python_int(std::string_view text) {
    text = trim(text);
    if (!text.empty() && text.front() == '+')
        text.remove_prefix(1);
    return to_number<std::int64_t>(text);
}

Result<Triple> flavor_triple(const FlavorSpec& flavor, std::string_view prefix) {
    Triple out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto text = flavor.extra(cat(prefix, dimensions[i]));
        if (!text)
            continue;
        const auto number = python_int(*text);
        if (!number)
            return fail_as("InvalidRequest",
                           Code::InvalidArgument,
                           cat("Invalid flavor extra spec. Error: invalid literal for int() with "
                               "base 10: '",
                               *text,
                               "'"));
        out[i] = *number;
    }
    return out;
}

Result<Triple> image_triple(const ImageSpec& image, std::string_view prefix) {
    Triple out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::string key = cat(prefix, dimensions[i]);
        const auto text = image.property(key);
        if (!text)
            continue;
        const auto number = python_int(*text);
        if (!number)
            return fail_as(
                "Invalid",
                Code::InvalidArgument,
                cat("Image property '", key, "' must be a whole number, not '", *text, "'"));
        out[i] = *number;
    }
    return out;
}

std::string named(const Triple& triple) {
    return cat("(sockets=", triple[0], ", cores=", triple[1], ", threads=", triple[2], ")");
}

Result<Triple> effective_limits(const FlavorSpec& flavor, const ImageSpec& image) {
    NOVALET_ASSIGN(const Triple by_flavor, flavor_triple(flavor, "hw:cpu_max_"));
    NOVALET_ASSIGN(const Triple by_image, image_triple(image, "hw_cpu_max_"));
    Triple limits{};
    for (std::size_t i = 0; i < limits.size(); ++i) {
        if (by_flavor[i] != 0 && by_image[i] > by_flavor[i])
            return fail_as("ImageVCPULimitsRangeExceeded",
                           Code::InvalidArgument,
                           cat("Image vCPU topology limits ",
                               named(by_image),
                               " exceeds the limits of the flavor ",
                               named(by_flavor)));
        limits[i] = by_image[i] != 0 ? by_image[i] : by_flavor[i];
        if (limits[i] == 0)
            limits[i] = unlimited;
    }
    return limits;
}

bool exceeds(const Triple& wanted, const Triple& limits) {
    for (std::size_t i = 0; i < wanted.size(); ++i)
        if (wanted[i] > limits[i])
            return true;
    return false;
}

Result<Triple> preference(const FlavorSpec& flavor, const ImageSpec& image, const Triple& limits) {
    NOVALET_ASSIGN(Triple by_flavor, flavor_triple(flavor, "hw:cpu_"));
    NOVALET_ASSIGN(const Triple by_image, image_triple(image, "hw_cpu_"));
    if (exceeds(by_flavor, limits))
        by_flavor = {};
    if (exceeds(by_image, limits))
        return fail_as("ImageVCPUTopologyRangeExceeded",
                       Code::InvalidArgument,
                       cat("Image vCPU topology ",
                           named(by_image),
                           " exceeds the limits of the flavor or image ",
                           named(limits)));
    return by_image == Triple{} ? by_flavor : by_image;
}

/// Every sockets·cores·threads = vcpus within the limits, fewest threads first, then most sockets.
std::vector<Triple> candidates(std::int64_t vcpus, const Triple& limits) {
    std::vector<Triple> out;
    for (std::int64_t threads = 1; threads <= std::min(vcpus, limits[2]); ++threads) {
        if (vcpus % threads != 0)
            continue;
        const std::int64_t rest = vcpus / threads;
        for (std::int64_t sockets = std::min(rest, limits[0]); sockets >= 1; --sockets)
            if (rest % sockets == 0 && rest / sockets <= limits[1])
                out.push_back({sockets, rest / sockets, threads});
    }
    return out;
}

int score(const Triple& candidate, const Triple& wanted) {
    int met = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i)
        met += wanted[i] != 0 && wanted[i] == candidate[i] ? 1 : 0;
    return met;
}

} // namespace

Result<VirtCpuTopology>
best_cpu_topology(const FlavorSpec& flavor, const ImageSpec& image, bool allow_threads) {
    NOVALET_ASSIGN(Triple limits, effective_limits(flavor, image));
    NOVALET_ASSIGN(const Triple wanted, preference(flavor, image, limits));
    const auto vcpus = static_cast<std::int64_t>(flavor.vcpus);
    if (!allow_threads)
        limits[2] = 1;
    const std::vector<Triple> possible = candidates(vcpus, limits);
    if (possible.empty())
        return fail_as("ImageVCPULimitsRangeImpossible",
                       Code::InvalidArgument,
                       cat("Requested vCPU limits ",
                           std::min(vcpus, limits[0]),
                           ':',
                           std::min(vcpus, limits[1]),
                           ':',
                           std::min(vcpus, limits[2]),
                           " are impossible to satisfy for vcpus count ",
                           vcpus));
    const auto best =
        std::max_element(possible.begin(), possible.end(), [&](const Triple& a, const Triple& b) {
            return score(a, wanted) < score(b, wanted);
        });
    return VirtCpuTopology{static_cast<unsigned>((*best)[0]),
                           static_cast<unsigned>((*best)[1]),
                           static_cast<unsigned>((*best)[2])};
}

} // namespace novalet::scheduler_hooks::model
