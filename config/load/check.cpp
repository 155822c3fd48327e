#include "config/load/check.hpp"

#include "agent/core/text.hpp"
#include "config/load/form.hpp"

#include <algorithm>
#include <set>

namespace novalet::config {
namespace {

class Checker {
  public:
    Checker(const Config& written, const Config& config) : written_(written), config_(config) {}

    Findings run() {
        check_identity();
        check_transport();
        check_accounts();
        check_cinder();
        check_libvirt();
        check_compute();
        check_page_pools();
        check_intervals();
        check_telemetry();
        return std::move(found_);
    }

  private:
    void error(std::string path, std::string text) {
        found_.errors.push_back({std::move(path), std::move(text)});
    }
    void warning(std::string path, std::string text) {
        found_.warnings.push_back({std::move(path), std::move(text)});
    }

    void check_identity() {
        if (config_.host.empty())
            error("host", "the system has no host name; set it");
        if (config_.my_ip.empty())
            error("my_ip", "this host has no default route to take its address from; set it");
        if (config_.host == "localhost")
            error("host",
                  "'localhost' is no name that tells this host from others; set the host name of "
                  "the system or this option");
    }

    void check_transport() {
        const auto& transport = config_.transport;
        if (transport.url.empty())
            error("transport.url",
                  "is missing; it says where the broker is: "
                  "rabbit://user:password@host:5672/vhost");
        if (transport.tls.cert_file.empty() != transport.tls.key_file.empty())
            error(transport.tls.cert_file.empty() ? "transport.tls.key_file"
                                                  : "transport.tls.cert_file",
                  "cert_file and key_file are needed both or not at all");
        if (transport.retry_max < transport.retry_interval)
            error("transport.retry_max",
                  cat("is ",
                      transport.retry_max.count(),
                      " s, less than retry_interval with ",
                      transport.retry_interval.count(),
                      " s"));
    }

    /// `required`: the account that others fall back to.
    void check_account(const std::string& section, const Access& access, bool required) {
        const bool has_credential = !access.application_credential_id.empty();
        if (has_credential != !access.application_credential_secret.empty()) {
            error(section + (has_credential ? ".application_credential_secret"
                                            : ".application_credential_id"),
                  "application_credential_id and application_credential_secret are needed both or "
                  "not at all");
            return;
        }
        if (has_credential && !access.password.empty())
            error(section + ".password",
                  "there is an application credential as well; keep one of them");
        const bool own_user = !access.username.empty();
        if (has_credential)
            return;
        if (required && (!own_user || access.password.empty()))
            error(section + (own_user ? ".password" : ".username"),
                  "is missing; user and password or an application credential are needed");
        if (!required && own_user && access.password.empty())
            error(section + ".password",
                  cat("is missing; the user ",
                      access.username,
                      " of this section needs a password of its own"));
    }

    void check_accounts() {
        if (config_.keystone.auth_url.empty())
            error("keystone.auth_url", "is missing; it says where Keystone is");
        check_account("keystone", config_.keystone, true);
        check_account("placement", written_.placement, false);
        check_account("neutron", written_.neutron, false);
        check_account("glance", written_.glance, false);
        check_account("cinder", written_.cinder, false);
        check_account("service_user", written_.service_user, false);
        if (config_.keystone.insecure.value_or(false))
            warning("keystone.insecure",
                    "certificates are not verified: whoever is in between can read passwords");
    }

    void check_cinder() {
        const auto& cinder = config_.cinder;
        if (cinder.catalog_info.empty())
            error("cinder.catalog_info",
                  "is empty; leave it out for the default, volumev3::publicURL");
        const auto parts = split(cinder.endpoint_template, '/');
        if (!parts.empty() && std::find(parts.begin(), parts.end(), "v3") == parts.end())
            error("cinder.endpoint_template",
                  cat("'",
                      cinder.endpoint_template,
                      "' is not the URL of API v3: http://controller:8776/v3/%(project_id)s"));
    }

    void check_libvirt() {
        const auto& libvirt = config_.libvirt;
        if (libvirt.cpu_mode == "custom" && libvirt.cpu_models.empty())
            error("libvirt.cpu_models", "is missing; cpu_mode custom needs at least one model");
        if (libvirt.cpu_mode != "custom" && !libvirt.cpu_models.empty())
            error("libvirt.cpu_models",
                  cat("is only for cpu_mode custom, but cpu_mode is ",
                      libvirt.cpu_mode.empty() ? "not set" : libvirt.cpu_mode));
        if (libvirt.cpu_mode == "none" && !libvirt.cpu_model_extra_flags.empty())
            error("libvirt.cpu_model_extra_flags", "cannot be used with cpu_mode none");
        if (libvirt.virt_type == "qemu" && libvirt.cpu_mode == "host-passthrough")
            error("libvirt.cpu_mode",
                  "host-passthrough needs virt_type kvm; an emulated CPU cannot be the host's");
        const auto& simulated = config_.hypervisor.simulated;
        if (simulated.numa_cells > simulated.vcpus)
            error(
                "hypervisor.simulated.numa_cells",
                cat("is ", simulated.numa_cells, ", more than there are vcpus: ", simulated.vcpus));
        if (config_.image_cache.subdirectory_name.empty() ||
            config_.image_cache.subdirectory_name.find('/') != std::string::npos ||
            config_.image_cache.subdirectory_name.starts_with('.'))
            error("image_cache.subdirectory_name",
                  "has to be the name of one folder, without '/' and leading '.'");
    }

    void check_compute() {
        const auto& compute = config_.compute;
        if (!compute.cpu_shared_set.empty() && !compute.cpu_dedicated_set.empty()) {
            const auto shared = cpu_list(compute.cpu_shared_set);
            const auto dedicated = cpu_list(compute.cpu_dedicated_set);
            std::vector<unsigned> both;
            if (shared && dedicated)
                std::set_intersection(shared->begin(),
                                      shared->end(),
                                      dedicated->begin(),
                                      dedicated->end(),
                                      std::back_inserter(both));
            if (!both.empty())
                error("compute.cpu_dedicated_set",
                      cat("CPU ",
                          both.front(),
                          both.size() > 1 ? cat(" and ", both.size() - 1, " more are") : " is",
                          " also in cpu_shared_set; a CPU is either shared or dedicated"));
        }
        std::set<std::pair<unsigned, std::uint64_t>> seen;
        for (const auto& pages : compute.reserved_huge_pages)
            if (!seen.emplace(pages.node, pages.size).second)
                error(
                    "compute.reserved_huge_pages",
                    cat("pages of ", pages.size, " KiB of node ", pages.node, " are there twice"));
    }

    void check_page_pools() {
        std::set<std::pair<unsigned, std::uint64_t>> seen;
        for (const auto& pool : config_.compute.huge_page_pools)
            if (!seen.emplace(pool.node, pool.size).second)
                error("compute.huge_page_pools",
                      cat("pages of ", pool.size, " KiB of node ", pool.node, " are there twice"));
    }

    void check_intervals() {
        const auto& intervals = config_.intervals;
        if (intervals.report_interval >= intervals.service_down_time)
            error("intervals.report_interval",
                  cat("is ",
                      intervals.report_interval.count(),
                      " s, but the control plane takes this host for down after ",
                      intervals.service_down_time.count(),
                      " s (service_down_time)"));
        else if (intervals.report_interval * 2 > intervals.service_down_time)
            warning("intervals.report_interval",
                    "one lost heartbeat makes the control plane take this host for down; at most "
                    "half of service_down_time is advised");
        const auto& shutdown = config_.shutdown;
        if (shutdown.guest_timeout > Seconds(0) &&
            shutdown.guest_retry_interval > shutdown.guest_timeout)
            warning("shutdown.guest_retry_interval",
                    "is longer than guest_timeout: guests are asked only once");
    }

    void check_telemetry() {
        const auto& listen = config_.telemetry.listen;
        const bool local = listen.empty() || listen.starts_with("unix:") ||
                           listen.starts_with("127.") || listen.starts_with("[::1]");
        if (!local)
            warning("telemetry.listen",
                    cat("'", listen, "' is reachable from outside; there is no authentication"));
    }

    const Config& written_;
    const Config& config_;
    Findings found_;
};

} // namespace

Findings check(const Config& written, const Config& config) {
    return Checker(written, config).run();
}

} // namespace novalet::config
