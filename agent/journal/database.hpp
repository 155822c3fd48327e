#pragma once
// SQLite as this folder needs it: one connection, prepared statements, error codes as ours.
// One thread at a time; the journal takes care of that.
#include "agent/core/result.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace novalet::journal {

/// A prepared statement. Parameters count from 1, columns from 0.
class Statement {
  public:
    struct Handle;
    explicit Statement(std::unique_ptr<Handle> handle);
    Statement(Statement&&) noexcept;
    Statement& operator=(Statement&&) noexcept;
    ~Statement();

    Statement& bind(int parameter, std::int64_t value);
    Statement& bind(int parameter, std::string_view value);
    Statement& bind_null(int parameter);
    /// True: there is a row. False: done; the statement is ready for the next use.
    [[nodiscard]] Result<bool> step();
    /// To the end, without looking at rows.
    [[nodiscard]] Result<void> run();
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] std::string text(int column) const;
    /// Ready for the next use although not all rows were read.
    void reset();

  private:
    std::unique_ptr<Handle> handle_;
};

/// Codes of all failures here: DataLoss (no database, damaged, or its bytes cannot be read),
/// ResourceExhausted (disk, quota, file size limit), Conflict (another process has it), Unavailable
/// (the disk did not take a write; or no memory), Unauthorized (read-only), Internal (a statement
/// does not fit what is in the file).
class Database {
  public:
    /// Makes the file when there is none.
    [[nodiscard]] static Result<Database> open(const std::filesystem::path& path);
    Database(Database&&) noexcept;
    Database& operator=(Database&&) noexcept;
    ~Database();

    /// One or several statements without parameters.
    [[nodiscard]] Result<void> execute(const std::string& sql);
    /// First column of the first row.
    [[nodiscard]] Result<std::string> value_of(const std::string& sql);
    [[nodiscard]] Result<Statement> prepare(const std::string& sql);
    /// Rows that the last statement changed.
    [[nodiscard]] std::int64_t changes() const;
    /// SQLite rolls back by itself after some errors.
    [[nodiscard]] bool in_transaction() const;

  private:
    struct Handle;
    explicit Database(std::unique_ptr<Handle> handle);
    std::unique_ptr<Handle> handle_;
};

} // namespace novalet::journal
