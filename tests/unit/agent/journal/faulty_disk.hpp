#pragma once
// A disk that fails when the test wants it: SQLite's default VFS with faults in front of it.
#include <sqlite3.h>

namespace novalet::tests {

/// SQLite's default VFS as long as it lives; one at a time.
class FaultyDisk {
  public:
    enum Call : unsigned { Read = 1, Write = 2, Sync = 4, Truncate = 8 };

    FaultyDisk() {
        current() = this;
        real_ = sqlite3_vfs_find(nullptr);
        vfs_ = *real_;
        vfs_.zName = "faulty-disk";
        vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
        vfs_.xOpen = open;
        vfs_.pNext = nullptr;
        sqlite3_vfs_register(&vfs_, 1);
    }
    FaultyDisk(const FaultyDisk&) = delete;
    FaultyDisk& operator=(const FaultyDisk&) = delete;
    ~FaultyDisk() {
        sqlite3_vfs_unregister(&vfs_);
        current() = nullptr;
    }

    /// From the n-th call of these kinds on (1 = the next) `times` calls end with this code.
    void fail(unsigned calls, int code, int nth = 1, int times = 1'000'000) {
        calls_ = calls;
        code_ = code;
        wait_ = nth;
        times_ = times;
    }
    void mend() { calls_ = 0; }
    /// Whether a call failed since the last `fail`.
    [[nodiscard]] bool has_failed() const { return calls_ != 0 && wait_ <= 0; }
    [[nodiscard]] int syncs() const { return syncs_; }

  private:
    struct File {
        sqlite3_file base;
        sqlite3_file* real;
    };

    static FaultyDisk*& current() {
        static FaultyDisk* disk = nullptr;
        return disk;
    }
    static sqlite3_file* real(sqlite3_file* file) {
        return reinterpret_cast<File*>(file)->real; // NOLINT: what SQLite's C interface is like
    }
    int fault(Call call) {
        if (call == Sync)
            ++syncs_;
        if ((calls_ & call) == 0 || --wait_ > 0 || times_ <= 0)
            return SQLITE_OK;
        --times_;
        return code_;
    }
    static int
    open(sqlite3_vfs* /*vfs*/, const char* name, sqlite3_file* file, int flags, int* out) {
        auto* mine = reinterpret_cast<File*>(file);             // NOLINT
        mine->real = reinterpret_cast<sqlite3_file*>(mine + 1); // NOLINT
        mine->base.pMethods = nullptr;
        auto* vfs = current()->real_;
        const int status = vfs->xOpen(vfs, name, mine->real, flags, out);
        if (mine->real->pMethods != nullptr)
            mine->base.pMethods = methods();
        return status;
    }
    static const sqlite3_io_methods* methods() {
        // Version 1: no shared memory, which an exclusive WAL does not need.
        static const sqlite3_io_methods all = [] {
            sqlite3_io_methods m{};
            m.iVersion = 1;
            m.xClose = [](sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); };
            m.xRead = [](sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
                const int status = current()->fault(Read);
                return status != SQLITE_OK ? status
                                           : real(f)->pMethods->xRead(real(f), to, size, at);
            };
            m.xWrite = [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
                const int status = current()->fault(Write);
                return status != SQLITE_OK ? status
                                           : real(f)->pMethods->xWrite(real(f), from, size, at);
            };
            m.xTruncate = [](sqlite3_file* f, sqlite3_int64 size) {
                const int status = current()->fault(Truncate);
                return status != SQLITE_OK ? status : real(f)->pMethods->xTruncate(real(f), size);
            };
            m.xSync = [](sqlite3_file* f, int flags) {
                const int status = current()->fault(Sync);
                return status != SQLITE_OK ? status : real(f)->pMethods->xSync(real(f), flags);
            };
            m.xFileSize = [](sqlite3_file* f, sqlite3_int64* size) {
                return real(f)->pMethods->xFileSize(real(f), size);
            };
            m.xLock = [](sqlite3_file* f, int lock) {
                return real(f)->pMethods->xLock(real(f), lock);
            };
            m.xUnlock = [](sqlite3_file* f, int lock) {
                return real(f)->pMethods->xUnlock(real(f), lock);
            };
            m.xCheckReservedLock = [](sqlite3_file* f, int* out) {
                return real(f)->pMethods->xCheckReservedLock(real(f), out);
            };
            m.xFileControl = [](sqlite3_file* f, int verb, void* arg) {
                return real(f)->pMethods->xFileControl(real(f), verb, arg);
            };
            m.xSectorSize = [](sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); };
            m.xDeviceCharacteristics = [](sqlite3_file* f) {
                return real(f)->pMethods->xDeviceCharacteristics(real(f));
            };
            return m;
        }();
        return &all;
    }

    sqlite3_vfs* real_ = nullptr;
    sqlite3_vfs vfs_{};
    unsigned calls_ = 0;
    int code_ = SQLITE_OK;
    int wait_ = 0;
    int times_ = 0;
    int syncs_ = 0;
};

} // namespace novalet::tests
