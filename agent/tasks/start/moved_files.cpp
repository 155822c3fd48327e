#include "agent/tasks/start/moved_files.hpp"

#include "agent/core/text.hpp"

namespace novalet::tasks {

Result<void> take_back_files(const std::filesystem::path& instances_path,
                             const InstanceUuid& uuid) {
    if (instances_path.empty() || !is_uuid(uuid.str()))
        return {};
    const auto folder = instances_path / uuid.str();
    const auto kept = instances_path / cat(uuid.str(), "_resize");
    std::error_code error;
    if (!std::filesystem::is_directory(kept, error))
        return {};
    std::filesystem::remove_all(folder, error);
    if (!error)
        std::filesystem::rename(kept, folder, error);
    if (error)
        return fail(Code::Internal,
                    cat("the files in ",
                        kept.string(),
                        " could not get the name ",
                        folder.string(),
                        " back: ",
                        error.message()));
    return {};
}

} // namespace novalet::tasks
