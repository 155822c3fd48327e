#include "agent/tasks/ops/build/build_outcome.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace novalet::tasks {
namespace {

constexpr std::array<std::string_view, 3> gone{
    "InstanceNotFound",
    "UnexpectedDeletingTaskStateError",
    "InstanceInfoCacheNotFound", // the row goes with the instance
};

constexpr std::array<std::string_view, 28> hopeless{
    // network
    "NoMoreFixedIps",
    "ExternalNetworkAttachForbidden",
    "VirtualInterfaceCreateException",
    "VirtualInterfaceMacAddressException",
    "FixedIpInvalidOnHost",
    "UnableToAutoAllocateNetwork",
    "NetworksWithQoSPolicyNotSupported",
    "VTPMSecretForbidden",
    // image and flavor
    "FlavorDiskTooSmall",
    "FlavorDiskSmallerThanImage",
    "FlavorDiskSmallerThanMinDisk",
    "FlavorMemoryTooSmall",
    "ImageNotActive",
    "ImageUnacceptable",
    "InvalidDiskInfo",
    "InvalidDiskFormat",
    "SignatureVerificationError",
    "CertificateValidationFailed",
    "VolumeEncryptionNotSupported",
    "InvalidInput",
    "RequestedVRamTooHigh",
    // block devices and checks before the claim's body
    "BuildAbortException",
    "InvalidBDM",
    "VolumeNotCreated",
    "TooManyDiskDevices",
    "InvalidImageRef",
    "TrustedCertsNotSupported",
    "UnexpectedTaskStateError", // somebody else took the instance over
};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

} // namespace

BuildFailure classify_build_failure(const Error& error) {
    if (error.code == Code::Cancelled || contains(gone, error.exception))
        return BuildFailure::Gone;
    if (contains(hopeless, error.exception))
        return BuildFailure::Abort;
    return BuildFailure::Reschedule;
}

} // namespace novalet::tasks
