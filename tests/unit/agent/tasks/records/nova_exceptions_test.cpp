#include "agent/tasks/records/nova_exceptions.hpp"

#include <algorithm>
#include <gtest/gtest.h>

namespace novalet::tasks {
namespace {

Error named(const char* exception, const char* text = "text") {
    return Error{Code::Remote, text, exception, {}};
}

int code_of(const char* exception) {
    return fault_code(named(exception));
}

TEST(NovaExceptions, AreSortedAndHangTogether) {
    const auto all = nova_exceptions();
    EXPECT_TRUE(std::is_sorted(
        all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; }));
    for (const auto& one : all) {
        EXPECT_EQ(find_exception(one.name), &one);
        if (!one.base.empty()) {
            EXPECT_NE(find_exception(one.base), nullptr) << one.name;
        }
    }
    EXPECT_EQ(find_exception("NoSuchClass"), nullptr);
    EXPECT_EQ(find_exception(""), nullptr);
}

TEST(NovaExceptions, HaveTheCodesOfTheirClasses) { // nova.exception, attribute `code`
    EXPECT_EQ(code_of("NovaException"), 500);
    EXPECT_EQ(code_of("InstanceNotFound"), 404);
    EXPECT_EQ(code_of("Forbidden"), 403);
    EXPECT_EQ(code_of("ExternalNetworkAttachForbidden"), 403);
    EXPECT_EQ(code_of("Invalid"), 400);
    EXPECT_EQ(code_of("ImageUnacceptable"), 400);
    EXPECT_EQ(code_of("ComputeResourcesUnavailable"), 400); // ServiceUnavailable is an Invalid
    EXPECT_EQ(code_of("PortInUse"), 400);                   // an Invalid; nova-api makes it a 409
    EXPECT_EQ(code_of("OverQuota"), 413);
    EXPECT_EQ(code_of("BuildAbortException"), 500);
    EXPECT_EQ(code_of("ImageNotActive"), 500);
    EXPECT_EQ(code_of("FlavorDiskTooSmall"), 500);
    EXPECT_EQ(code_of("NotImplementedError"), 500);
    EXPECT_EQ(code_of("NoSuchClass"), 500);
    // Without a class a failure of ours is a NovaException, whatever kind it is.
    EXPECT_EQ(fault_code(Error{Code::NotFound, "no such file", {}, {}}), 500);
}

TEST(NovaExceptions, AreCaughtByTheirBases) {
    EXPECT_TRUE(is_a(named("UnexpectedDeletingTaskStateError"), "UnexpectedTaskStateError"));
    EXPECT_FALSE(is_a(named("UnexpectedTaskStateError"), "UnexpectedDeletingTaskStateError"));
    EXPECT_TRUE(is_a(named("InvalidCPUInfo"), "Invalid")); // LiveMigrationTask: next host
    EXPECT_FALSE(is_a(named("InvalidSharedStorage"), "Invalid"));
    EXPECT_TRUE(is_a(named("PortNotFound"), "NotFound"));
    EXPECT_TRUE(is_a(named("NotImplementedError"), "RuntimeError"));
    EXPECT_FALSE(is_a(named("NotImplementedError"), "NovaException"));
    EXPECT_TRUE(is_a(Error{Code::Internal, "ours", {}, {}}, "NovaException"));
    EXPECT_FALSE(is_a(named("NoSuchClass"), "NovaException"));
}

TEST(NovaExceptions, FamiliesGoToDerivedClasses) {
    EXPECT_EQ(family_of(named("FlavorDiskTooSmall")), Family::BuildAbort);
    EXPECT_EQ(family_of(named("FlavorDiskSmallerThanImage")), Family::BuildAbort);
    EXPECT_EQ(family_of(named("RescheduledByPolicyException")), Family::ResourcesUnavailable);
    EXPECT_EQ(family_of(named("UnexpectedTaskStateError")), Family::TaskStateTaken);
    EXPECT_EQ(family_of(named("UnexpectedDeletingTaskStateError")), Family::InstanceGone);
    EXPECT_EQ(family_of(named("InstanceUpdateConflict")), Family::VmStateTaken);
    EXPECT_EQ(family_of(named("MessagingTimeout")), Family::Unreachable);
    // Met while a disk is made, not while the mappings are: another host is tried.
    EXPECT_EQ(family_of(named("InvalidBDMFormat")), Family::General);
    EXPECT_EQ(family_of(Error{Code::Internal, "ours", {}, {}}), Family::General);
}

TEST(NovaExceptions, AreWordedAsInNova) {
    const auto aborted =
        nova_error("BuildAbortException", {{"instance_uuid", "u1"}, {"reason", "no disk"}});
    EXPECT_EQ(aborted.text, "Build of instance u1 aborted: no disk");
    EXPECT_EQ(aborted.exception, "BuildAbortException");
    EXPECT_EQ(aborted.module, "nova.exception");
    EXPECT_EQ(
        nova_error("RescheduledException", {{"reason", "full"}, {"instance_uuid", "u1"}}).text,
        "Build of instance u1 was re-scheduled: full");
    const auto unavailable = nova_error("ComputeResourcesUnavailable", {{"reason", "no pages"}});
    EXPECT_EQ(unavailable.text, "Insufficient compute resources: no pages.");
    EXPECT_EQ(unavailable.code, Code::InvalidArgument);
    EXPECT_EQ(nova_error("MigrationPreCheckError", {{"reason", "no"}}).text,
              "Migration pre-check error: no");
    EXPECT_EQ(nova_error("ConsoleTypeUnavailable", {{"console_type", "mks"}}).text,
              "Unavailable console type mks.");
    EXPECT_EQ(nova_error("InstanceNotFound", {{"instance_id", "u1"}}).code, Code::NotFound);
    const auto refused = nova_error("NotImplementedError", {{"reason", "not here"}});
    EXPECT_EQ(refused.text, "not here");
    EXPECT_EQ(refused.module, "builtins");
    EXPECT_EQ(refused.code, Code::Unsupported);
    // A value is not read as a form again.
    EXPECT_EQ(nova_error("MigrationError", {{"reason", "%(reason)s"}}).text,
              "Migration error: %(reason)s");
}

TEST(NovaExceptions, AllTextFormsBelongToClassesOfTheTable) {
    std::size_t forms = 0;
    for (const auto& one : nova_exceptions())
        forms += text_form(one.name).empty() ? 0U : 1U;
    EXPECT_EQ(forms, 33U);
}

TEST(NovaFault, DetailsAreKeptForCode500Only) { // nova.compute.utils._get_fault_details
    const auto aborted = fault_of(
        nova_error("BuildAbortException", {{"instance_uuid", "u1"}, {"reason", "no disk"}}));
    EXPECT_EQ(aborted.code, 500);
    EXPECT_EQ(aborted.message, "Build of instance u1 aborted: no disk");
    EXPECT_EQ(aborted.details,
              "nova.exception.BuildAbortException: Build of instance u1 aborted: no disk\n");
    const auto missing = fault_of(named("PortNotFound", "Port id p1 could not be found."));
    EXPECT_EQ(missing.code, 404);
    EXPECT_EQ(missing.message, "Port id p1 could not be found.");
    EXPECT_EQ(missing.details, "");
}

TEST(NovaFault, TextsOfOtherLibrariesAreForAdministrators) { // exception_to_dict
    const auto fault = fault_of(
        Error{Code::Internal, "cannot open /var/lib/nova/x: denied", "libvirtError", "libvirt"});
    EXPECT_EQ(fault.message, "libvirtError");
    EXPECT_EQ(fault.details, "libvirt.libvirtError: cannot open /var/lib/nova/x: denied\n");
    EXPECT_EQ(fault_of(named("NotImplementedError", "why")).message, "NotImplementedError");
    EXPECT_EQ(fault_of(named("NotImplementedError", "why")).details, "NotImplementedError: why\n");
    EXPECT_EQ(fault_of(Error{Code::Internal, "ours", {}, {}}).message, "ours");
}

TEST(NovaFault, AMessageOfItsOwnWins) { // _do_build_and_run_instance, no retry left
    const auto fault = fault_of(
        nova_error("RescheduledException", {{"instance_uuid", "u1"}, {"reason", "full"}}), "full");
    EXPECT_EQ(fault.message, "full");
    EXPECT_EQ(fault.details,
              "nova.exception.RescheduledException: Build of instance u1 was re-scheduled: full\n");
}

TEST(NovaFault, TheMessageIsCutAtAWholeCharacter) { // oslo_utils safe_truncate, 255 bytes
    const std::string text = std::string(254, 'a') + "\u00e4";
    EXPECT_EQ(fault_of(named("NovaException", text.c_str())).message, std::string(254, 'a'));
    EXPECT_EQ(event_of(named("NovaException", text.c_str())).exc_val, text); // the conductor cuts
}

TEST(NovaEvent, ATracebackIsNeverEmpty) { // InstanceActionEvent.pack_action_event_finish
    const auto texts = event_of(named("InstanceNotFound", ""));
    EXPECT_EQ(texts.exc_val, "InstanceNotFound");
    EXPECT_EQ(texts.exc_tb, "nova.exception.InstanceNotFound\n");
}

} // namespace
} // namespace novalet::tasks
