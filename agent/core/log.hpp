#pragma once
// Structured log: a constant message and fields. One line per call, written with one write(2), so
// lines of several threads never mix. Line form is oslo.log's, which operators' tools parse:
//   2026-11-21 04:28:56.123 4711 INFO novalet.agent [req-… ] [instance: …] message key=value
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace novalet::log {

enum class Level { Debug, Info, Warning, Error };

/// One field. Secrets cannot be passed: there is no conversion from Secret.
struct Field {
    std::string_view key;
    std::string value;
    Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
    Field(std::string_view k, const char* v) : key(k), value(v) {}
    Field(std::string_view k, std::string_view v) : key(k), value(v) {}
    Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
    template <class T>
    requires std::is_arithmetic_v<T> Field(std::string_view k, T v)
        : key(k), value(std::to_string(v)) {}
};

/// Where and how much; call before other threads start. `path` empty = stderr. A file is reopened
/// by `reopen()` (SIGHUP after rotation). Returns false when the file cannot be opened.
bool configure(Level threshold, const std::string& path = {});
void reopen();
void set_level(Level threshold) noexcept; ///< any thread
[[nodiscard]] bool enabled(Level level) noexcept;

/// Fields named `req` and `instance` go where oslo.log puts them. Any thread.
void write(Level level, std::string_view message, const std::vector<Field>& fields);

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
    if (enabled(Level::Debug))
        write(Level::Debug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
    write(Level::Info, message, fields);
}
inline void warning(std::string_view message, std::initializer_list<Field> fields = {}) {
    write(Level::Warning, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
    write(Level::Error, message, fields);
}

/// Fields added to every line of this thread while it lives (req, instance, task, step).
class Scope {
  public:
    Scope(std::initializer_list<Field> fields);
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

  private:
    std::size_t before_;
};

} // namespace novalet::log
