#include "agent/journal/database.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <cerrno>
#include <sqlite3.h>

namespace novalet::journal {
namespace {

/// `number`: errno of the system call that failed, 0 when none did.
Code code_of_io(int status, int number) {
    switch (status) {
    case SQLITE_IOERR_READ:
    case SQLITE_IOERR_SHORT_READ:
    case SQLITE_IOERR_FSTAT:
    case SQLITE_IOERR_DATA:
    case SQLITE_IOERR_CORRUPTFS:
        return Code::DataLoss;
    default:
        // SQLite itself looks for ENOSPC only.
        return number == ENOSPC || number == EDQUOT || number == EFBIG ? Code::ResourceExhausted
                                                                       : Code::Unavailable;
    }
}

Code code_of(int status, int number) {
    if (status == SQLITE_READONLY_DBMOVED) // the file has no name any more
        return Code::DataLoss;
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
        return code_of_io(status, number);
    case SQLITE_CANTOPEN:
        return number == ENOSPC || number == EDQUOT ? Code::ResourceExhausted : Code::Unavailable;
    case SQLITE_NOMEM:
        return Code::Unavailable;
    default:
        return Code::Internal;
    }
}

/// errno of the last system call that failed on the database file or its WAL, 0 for none. The
/// connection's own note of it (sqlite3_system_errno) is whatever the calls after it left.
int last_errno(sqlite3* connection) {
    int number = 0;
    sqlite3_file* wal = nullptr;
    sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    if (wal != nullptr && wal->pMethods != nullptr)
        wal->pMethods->xFileControl(wal, SQLITE_FCNTL_LAST_ERRNO, &number);
    if (number == 0)
        sqlite3_file_control(connection, "main", SQLITE_FCNTL_LAST_ERRNO, &number);
    return number;
}

Failure failure(sqlite3* connection, int status) {
    if (connection == nullptr)
        return fail(code_of(status, 0), cat(sqlite3_errstr(status), " (SQLite ", status, ')'));
    const int extended = sqlite3_extended_errcode(connection);
    // The text of SQLite never contains bound values, so no secret can be in it.
    const std::string text = sqlite3_errmsg(connection);
    const int number = (extended & 0xFF) == SQLITE_IOERR      ? last_errno(connection)
                       : (extended & 0xFF) == SQLITE_CANTOPEN ? sqlite3_system_errno(connection)
                                                              : 0;
    return fail(code_of(extended, number),
                cat(text,
                    number != 0 ? cat(": ", errno_text(number)) : std::string(),
                    " (SQLite ",
                    extended,
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
