#include "agent/core/log.hpp"

#include "agent/core/clock.hpp"
#include "agent/core/text.hpp"

#include <atomic>
#include <fcntl.h>
#include <mutex>
#include <unistd.h>

namespace novalet::log {
namespace {

struct Sink {
    std::atomic<Level> threshold{Level::Info};
    std::atomic<int> fd{STDERR_FILENO};
    std::mutex reopening;
    std::string path;
};

Sink& sink() {
    static Sink one;
    return one;
}

thread_local std::vector<Field> scope_fields;

const char* name_of(Level level) {
    switch (level) {
    case Level::Debug:
        return "DEBUG";
    case Level::Info:
        return "INFO";
    case Level::Warning:
        return "WARNING";
    case Level::Error:
        return "ERROR";
    }
    return "INFO";
}

/// Control bytes must not forge lines.
void append_clean(std::string& out, std::string_view text) {
    for (const char c : text)
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
}

void append_field(std::string& out, const Field& field) {
    out += ' ';
    out += field.key;
    out += '=';
    const bool quote = field.value.empty() || field.value.find(' ') != std::string::npos;
    if (quote)
        out += '"';
    append_clean(out, field.value);
    if (quote)
        out += '"';
}

const Field* find(const std::vector<Field>& fields, std::string_view key) {
    for (const auto* list : {&fields, &static_cast<const std::vector<Field>&>(scope_fields)})
        for (const auto& field : *list)
            if (field.key == key)
                return &field;
    return nullptr;
}

} // namespace

bool configure(Level threshold, const std::string& path) {
    sink().threshold = threshold;
    sink().path = path;
    if (path.empty())
        return true;
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    sink().fd = fd;
    return true;
}

void set_level(Level threshold) noexcept {
    sink().threshold = threshold;
}

void reopen() {
    const std::lock_guard lock(sink().reopening);
    if (sink().path.empty())
        return;
    const int fd = open(sink().path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return;
    // dup2 keeps the number that other threads may be writing to.
    dup2(fd, sink().fd);
    close(fd);
}

bool enabled(Level level) noexcept {
    return level >= sink().threshold.load(std::memory_order_relaxed);
}

void write(Level level, std::string_view message, const std::vector<Field>& fields) {
    if (!enabled(level))
        return;
    const auto now = system_clock().wall();
    std::string line = to_utc_text(now);
    line += '.';
    line += to_iso_micro(now).substr(20, 3);
    line += cat(' ', static_cast<long>(getpid()), ' ', name_of(level), " novalet [");
    const auto* req = find(fields, "req");
    append_clean(line,
                 req != nullptr ? std::string_view(req->value) : "-"); // both come from the bus
    line += "] ";
    if (const auto* instance = find(fields, "instance")) {
        line += "[instance: ";
        append_clean(line, instance->value);
        line += "] ";
    }
    append_clean(line, message);
    for (const auto* list : {&fields, &static_cast<const std::vector<Field>&>(scope_fields)})
        for (const auto& field : *list)
            if (field.key != "req" && field.key != "instance")
                append_field(line, field);
    line += '\n';
    // A log that cannot be written must not stop the agent; there is nobody to tell.
    [[maybe_unused]] const auto written = ::write(sink().fd, line.data(), line.size());
}

Scope::Scope(std::initializer_list<Field> fields) : before_(scope_fields.size()) {
    scope_fields.insert(scope_fields.end(), fields.begin(), fields.end());
}

Scope::~Scope() {
    scope_fields.erase(scope_fields.begin() + static_cast<std::ptrdiff_t>(before_),
                       scope_fields.end());
}

} // namespace novalet::log
