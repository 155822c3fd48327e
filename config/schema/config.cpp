#include "config/schema/config.hpp"

namespace novalet::config {

Access Config::keystone_defaults() {
    Access access;
    access.username = "nova";
    access.user_domain_name = "Default";
    access.project_name = "service";
    access.project_domain_name = "Default";
    access.valid_interfaces = {"internal", "public"};
    access.insecure = false;
    access.timeout = Seconds(60);
    return access;
}

} // namespace novalet::config
