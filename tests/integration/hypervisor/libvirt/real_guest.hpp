#pragma once
// A guest on the real libvirtd with QEMU's emulator: a boot sector that greets on the serial port
// and then waits.
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/domain/domain.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"
#include "tests/integration/hypervisor/libvirt/event_log.hpp"
#include "tests/integration/hypervisor/libvirt/libvirt_daemon.hpp"
#include "tests/support/guest_builder.hpp"
#include "tests/support/temporary_folder.hpp"

#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <memory>
#include <mutex>
#include <unistd.h>

namespace novalet::tests {

using namespace hypervisor;
using namespace hypervisor::libvirt;
namespace fs = std::filesystem;

inline constexpr const char* greeting = "NOVALET GUEST READY";

/// A disk of one MiB that boots this code.
inline std::string disk_with(std::string sector) {
    sector.resize(510, '\0');
    sector += "\x55\xaa";
    sector.resize(1U << 20U, '\0');
    return sector;
}

/// 16-bit code: each byte of the text to port 0x3f8, then halt for ever.
inline std::string boot_disk() {
    const std::string code("\xfa"         // cli
                           "\xfc"         // cld
                           "\x31\xc0"     // xor ax, ax
                           "\x8e\xd8"     // mov ds, ax
                           "\xbe\x17\x7c" // mov si, 0x7c17, behind the code
                           "\xba\xf8\x03" // mov dx, 0x3f8
                           "\xac"         // next: lodsb
                           "\x84\xc0"     // test al, al
                           "\x74\x03"     // jz done
                           "\xee"         // out dx, al
                           "\xeb\xf8"     // jmp next
                           "\xf4"         // done: hlt
                           "\xeb\xfd",    // jmp done
                           23);
    return disk_with(code + greeting + "\r\n");
}

/// A guest that lets go of each PCI device as soon as it is asked to: what an ACPI driver does over
/// QEMU's hot-plug registers, for ever.
inline std::string obedient_disk() {
    const std::string code("\xfa"         // cli
                           "\xfc"         // cld
                           "\x66\x31\xc0" // again: xor eax, eax
                           "\xba\x10\xae" // mov dx, 0xae10
                           "\x66\xef"     // out dx, eax: of bus 0
                           "\xba\x04\xae" // mov dx, 0xae04
                           "\x66\xed"     // in eax, dx: which slots are to be emptied
                           "\x66\x85\xc0" // test eax, eax
                           "\x74\xee"     // jz again
                           "\xba\x08\xae" // mov dx, 0xae08
                           "\x66\xef"     // out dx, eax: eject them
                           "\xeb\xe7",    // jmp again
                           27);
    return disk_with(code);
}

/// Glance with one image; counts how often it is asked.
class OneImage : public ImageSource {
  public:
    Result<void> fetch(const ImageId& /*image*/, int fd) override {
        ++fetched;
        if (broken)
            return fail(Code::Unavailable, "Glance is away");
        if (write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
            return fail(Code::ResourceExhausted, "disk full");
        return {};
    }
    Result<std::string> disk_format(const ImageId& /*image*/) override {
        return std::string("raw");
    }
    std::string content = boot_disk();
    int fetched = 0;
    bool broken = false;
};

class RealGuest : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        std::signal(SIGPIPE, SIG_IGN); // as the daemon does: libvirt writes to links that are cut
        daemon_ = std::make_unique<LibvirtDaemon>();
    }
    static void TearDownTestSuite() { daemon_.reset(); }

    void SetUp() override {
        ASSERT_TRUE(daemon_->is_up())
            << "no libvirtd answers and none could be started (packages libvirt-daemon, "
               "libvirt-daemon-driver-qemu, qemu-system-x86)";
        fs::permissions(folder_.path(), fs::perms(0755)); // QEMU's user walks through it
        hypervisor_ = make();
        const auto started =
            hypervisor_->start([this](const GuestEvent& event) { events_.add(event); });
        ASSERT_TRUE(started) << started.error().text;
    }
    void TearDown() override {
        if (hypervisor_) {
            EXPECT_TRUE(hypervisor_->destroy(guest_.uuid, {Disks::Remove, guest_.interfaces}));
        }
    }
    std::unique_ptr<LibvirtHypervisor> make() {
        Options options;
        options.uri = uri_;
        options.files.host = "this host";
        options.files.copy_on_write = copy_on_write_;
        options.domain.virt_type = "qemu";
        options.domain.style.unmanaged_taps = true;
        options.cache.instances_path = folder_.path();
        options.files.instances_path = folder_.path();
        options.soft_reboot_timeout = Seconds(1);
        options.device_detach_attempts = 2;
        options.device_detach_timeout = Seconds(5);
        options.stop_event_delay = Seconds(0);
        return std::make_unique<LibvirtHypervisor>(options, system_processes());
    }
    static GuestSpec small_guest() {
        auto guest = golden_guest();
        guest.uuid = InstanceUuid(new_uuid());
        guest.name = "novalet-test-" + guest.uuid.str().substr(0, 8);
        guest.flavor.memory_mib = 64;
        guest.flavor.vcpus = 1;
        guest.image.disk_format = "raw";
        guest.disks[0].size_bytes = 2U << 20U;
        guest.interfaces.clear();
        guest.config_drive->files["openstack/latest/meta_data.json"] = "{}";
        return guest;
    }
    /// The next process, with options as they are by then.
    void restart() {
        hypervisor_->stop();
        hypervisor_ = make();
        ASSERT_TRUE(hypervisor_->start([this](const GuestEvent& event) { events_.add(event); }));
    }
    /// What virsh prints of the guest's domain, beside the hypervisor; empty when it fails.
    [[nodiscard]] std::string virsh(const char* verb) const {
        ProcessRequest request;
        request.argv = {"virsh", "-c", Options().uri, verb, guest_.uuid.str()};
        const auto done = system_processes().check(request);
        EXPECT_TRUE(done) << (done ? "" : done.error().text);
        return done ? done->out : "";
    }
    /// The guest's domain as libvirt has it.
    [[nodiscard]] domain::LiveDomain defined() const {
        return domain::read_domain(virsh("dumpxml")).value_or(domain::LiveDomain());
    }
    [[nodiscard]] bool has_managed_save() const {
        const auto info = virsh("dominfo");
        const auto line = info.find("Managed save:");
        return line != std::string::npos && info.find("yes", line) < info.find('\n', line);
    }
    SpawnHooks hooks() {
        SpawnHooks out;
        out.images = &image_;
        out.step = [this](const char* name) { steps_.emplace_back(name); };
        return out;
    }
    /// The guest needs a moment from its start to its first words.
    std::string console(std::string_view until) {
        const auto deadline = Deadline::after(Seconds(60));
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable never;
        for (;;) {
            const auto text = hypervisor_->console_log(guest_.uuid);
            EXPECT_TRUE(text) << (text ? "" : text.error().text);
            if (!text || text->find(until) != std::string::npos || deadline.passed())
                return text.value_or("");
            never.wait_until(lock, Deadline::after(Milliseconds(200)).time());
        }
    }
    [[nodiscard]] fs::path home() const { return folder_ / guest_.uuid.str(); }

    inline static std::unique_ptr<LibvirtDaemon> daemon_;
    std::string uri_ = "qemu:///system";
    bool copy_on_write_ = true;
    TemporaryFolder folder_;
    EventLog events_;
    OneImage image_;
    std::vector<std::string> steps_;
    GuestSpec guest_ = small_guest();
    std::unique_ptr<LibvirtHypervisor> hypervisor_;
};

} // namespace novalet::tests
