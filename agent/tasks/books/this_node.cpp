#include "agent/tasks/books/this_node.hpp"

#include "agent/core/text.hpp"

namespace novalet::tasks {

std::string ThisNode::name() const {
    const std::lock_guard lock(mutex_);
    return name_;
}

Result<ThisNode::Record> ThisNode::record() const {
    const std::lock_guard lock(mutex_);
    if (record_.uuid.empty())
        return fail(Code::NotFound, cat("host ", host_, " has no compute node record yet"));
    return record_;
}

std::int64_t ThisNode::id() const {
    const std::lock_guard lock(mutex_);
    return record_.id;
}

void ThisNode::set_name(std::string name) {
    const std::lock_guard lock(mutex_);
    name_ = std::move(name);
}

void ThisNode::set_record(Record record) {
    const std::lock_guard lock(mutex_);
    record_ = std::move(record);
}

} // namespace novalet::tasks
