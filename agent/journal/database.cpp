#include "agent/journal/database.hpp"

#include "agent/core/text.hpp"

#include <sqlite3.h>

namespace novalet::journal {
namespace {

Code code_of(int status) {
    switch (status & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return Code::DataLoss;
    case SQLITE_FULL:
        return Code::ResourceExhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return Code::Conflict;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return Code::Unauthorized;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_NOMEM:
        return Code::Unavailable;
    default:
        return Code::Internal;
    }
}

Failure failure(sqlite3* connection, int status) {
    // The text of SQLite never contains bound values, so no secret can be in it.
    return fail(code_of(status),
                cat(connection != nullptr ? sqlite3_errmsg(connection) : sqlite3_errstr(status),
                    " (SQLite ",
                    connection != nullptr ? sqlite3_extended_errcode(connection) : status,
                    ')'));
}

} // namespace

struct Statement::Handle {
    sqlite3* connection = nullptr;
    sqlite3_stmt* statement = nullptr;
    Handle() = default;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { sqlite3_finalize(statement); }
};

Statement::Statement(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Statement::Statement(Statement&&) noexcept = default;
Statement& Statement::operator=(Statement&&) noexcept = default;
Statement::~Statement() = default;

Statement& Statement::bind(int parameter, std::int64_t value) {
    sqlite3_bind_int64(handle_->statement, parameter, value);
    return *this;
}

Statement& Statement::bind(int parameter, std::string_view value) {
    sqlite3_bind_text64(handle_->statement,
                        parameter,
                        value.data() != nullptr ? value.data() : "",
                        value.size(),
                        SQLITE_TRANSIENT, // NOLINT: SQLite's own cast
                        SQLITE_UTF8);
    return *this;
}

Statement& Statement::bind_null(int parameter) {
    sqlite3_bind_null(handle_->statement, parameter);
    return *this;
}

Result<bool> Statement::step() {
    const int status = sqlite3_step(handle_->statement);
    if (status == SQLITE_ROW)
        return true;
    if (status == SQLITE_DONE) {
        reset();
        return false;
    }
    auto error = failure(handle_->connection, status);
    reset();
    return error;
}

Result<void> Statement::run() {
    for (;;) {
        NOVALET_ASSIGN(const bool row, step());
        if (!row)
            return {};
    }
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(handle_->statement, column);
}

std::string Statement::text(int column) const {
    const auto* bytes = sqlite3_column_blob(handle_->statement, column);
    const int size = sqlite3_column_bytes(handle_->statement, column);
    if (bytes == nullptr)
        return {};
    return {static_cast<const char*>(bytes), static_cast<std::size_t>(size)};
}

void Statement::reset() {
    sqlite3_reset(handle_->statement);
    sqlite3_clear_bindings(handle_->statement);
}

struct Database::Handle {
    sqlite3* connection = nullptr;
    Handle() = default;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { sqlite3_close_v2(connection); }
};

Database::Database(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::filesystem::path& path) {
    auto handle = std::make_unique<Handle>();
    // NOMUTEX: one thread at a time is promised by the caller.
    const int status = sqlite3_open_v2(path.c_str(),
                                       &handle->connection,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                           SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                       nullptr);
    if (status != SQLITE_OK)
        return failure(handle->connection, status);
    return Database(std::move(handle));
}

Result<void> Database::execute(const std::string& sql) {
    const int status = sqlite3_exec(handle_->connection, sql.c_str(), nullptr, nullptr, nullptr);
    if (status != SQLITE_OK)
        return failure(handle_->connection, status);
    return {};
}

Result<std::string> Database::value_of(const std::string& sql) {
    NOVALET_ASSIGN(auto statement, prepare(sql));
    NOVALET_ASSIGN(const bool row, statement.step());
    if (!row)
        return fail(Code::NotFound, cat("no row from: ", sql));
    return statement.text(0);
}

Result<Statement> Database::prepare(const std::string& sql) {
    auto handle = std::make_unique<Statement::Handle>();
    handle->connection = handle_->connection;
    const int status = sqlite3_prepare_v3(handle_->connection,
                                          sql.c_str(),
                                          -1,
                                          SQLITE_PREPARE_PERSISTENT,
                                          &handle->statement,
                                          nullptr);
    if (status != SQLITE_OK)
        return failure(handle_->connection, status);
    return Statement(std::move(handle));
}

std::int64_t Database::changes() const {
    return sqlite3_changes(handle_->connection);
}

bool Database::in_transaction() const {
    return sqlite3_get_autocommit(handle_->connection) == 0;
}

} // namespace novalet::journal
