#include "agent/tasks/peers/shared_storage.hpp"

#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"

namespace novalet::tasks {
namespace {

constexpr const char* question = "check_instance_shared_storage";

/// A file of its own name in the guest's folder, gone with this object.
class Marker {
  public:
    explicit Marker(const std::filesystem::path& folder)
        : path_(folder / cat("shared-", new_uuid_hex())) {}
    Marker(const Marker&) = delete;
    Marker& operator=(const Marker&) = delete;
    ~Marker() {
        std::error_code error;
        if (!std::filesystem::remove(path_, error) && error)
            log::warning("a file that asked for shared storage could not be removed",
                         {{"path", path_.string()}, {"error", error.message()}});
    }
    [[nodiscard]] Result<void> write() const { return write_file_atomically(path_, ""); }
    [[nodiscard]] std::string path() const { return path_.string(); }

  private:
    const std::filesystem::path path_;
};

} // namespace

bool storage_is_shared(rpc::Caller& bus,
                       const TaskOptions& options,
                       const InstanceUuid& uuid,
                       const std::string& other_host) {
    if (options.instances_path.empty())
        return false;
    if (other_host.empty() || other_host == options.host)
        return true;
    const auto folder = options.instances_path / uuid.str();
    std::error_code none;
    if (!std::filesystem::is_directory(folder, none))
        return true; // nothing that could be removed
    const Marker marker(folder);
    if (const auto made = marker.write(); !made) {
        log::warning("whether a guest's files are shared cannot be asked; they are kept",
                     {{"host", other_host}, {"error", made.error().text}});
        return true;
    }
    rpc::Target target;
    target.topic = "compute";
    target.server = other_host;
    target.version = "6.0";
    Json args = Json::object();
    args.set("data", Json::object().set("filename", marker.path()));
    const auto seen = bus.call(target, question, std::move(args), rpc::Context::admin(), {});
    if (seen)
        return seen->as_bool(true);
    log::warning("a host did not say whether it shares a guest's files; they are kept",
                 {{"host", other_host}, {"error", seen.error().text}});
    return true;
}

Result<Json> check_instance_shared_storage(const TaskOptions& options,
                                           const rpc::Request& request) {
    const auto& file = request.args["data"]["filename"].as_string();
    std::error_code none;
    return Json(!options.instances_path.empty() && !file.empty() &&
                std::filesystem::exists(file, none));
}

} // namespace novalet::tasks
