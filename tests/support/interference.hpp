#pragma once
// What may go wrong with any call of an operation, and the peers of a host through which it does.
#include "agent/core/text.hpp"
#include "agent/rpc/caller.hpp"
#include "tests/support/fake_conductor.hpp"

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace novalet::tests {

enum class Mishap {
    NovaException, ///< the peer refuses with an exception of Nova
    PlainError,    ///< it fails without one
    CallLost,      ///< nothing happens and no answer comes
    AnswerLost,    ///< it happens, but no answer comes
    KilledBefore,  ///< the process ends before the call goes out
    KilledAfter,   ///< the process ends when it has happened
    Deleted        ///< the owner deletes the server at that moment; the call goes on
};

inline const char* name_of(Mishap mishap) {
    switch (mishap) {
    case Mishap::NovaException:
        return "NovaException";
    case Mishap::PlainError:
        return "PlainError";
    case Mishap::CallLost:
        return "CallLost";
    case Mishap::AnswerLost:
        return "AnswerLost";
    case Mishap::KilledBefore:
        return "KilledBefore";
    case Mishap::KilledAfter:
        return "KilledAfter";
    case Mishap::Deleted:
        return "Deleted";
    }
    return "?";
}

/// One call of a run: the k-th of its name. Names are stable where the order of two threads is not.
struct CallPoint {
    std::string call;
    unsigned occurrence = 0;
    [[nodiscard]] bool operator==(const CallPoint& other) const = default;
    [[nodiscard]] std::string text() const { return cat(call, " #", occurrence); }
};

/// All the calls of one process to its peers go through it. A process that was killed stays: its
/// threads go on, but from then on no call of theirs has an effect. Thread safe.
class Interference {
  public:
    /// At the moment of a kill, of a delete, and at a call that was asked to be watched; on the
    /// thread of the call.
    std::function<void()> on_kill;
    std::function<void()> on_delete;
    std::function<void()> on_watched;

    void plan(CallPoint point, Mishap mishap) {
        const std::lock_guard lock(mutex_);
        plans_.push_back({std::move(point), mishap});
    }
    void watch(CallPoint point) {
        const std::lock_guard lock(mutex_);
        watched_ = std::move(point);
    }
    [[nodiscard]] std::vector<CallPoint> calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    [[nodiscard]] bool dead() const {
        const std::lock_guard lock(mutex_);
        return dead_;
    }
    /// Another process.
    void revive() {
        const std::lock_guard lock(mutex_);
        dead_ = false;
    }
    /// Did everything happen that was planned?
    [[nodiscard]] bool spent() const {
        const std::lock_guard lock(mutex_);
        return plans_.empty();
    }

    /// `lost`: what the caller sees of a peer that does not answer.
    template <class Value, class Effect>
    Result<Value> through(const std::string& call, const Error& lost, const Effect& effect) {
        const auto mishap = next(call);
        if (dead())
            return Failure(FakeConductor::no_answer());
        if (!mishap)
            return effect();
        switch (*mishap) {
        case Mishap::NovaException:
            return Failure(FakeConductor::remote("NovaException"));
        case Mishap::PlainError:
            return Failure(Error{Code::Internal, "a failure of the test", "", ""});
        case Mishap::CallLost:
            return Failure(lost);
        case Mishap::KilledBefore:
            kill();
            return Failure(FakeConductor::no_answer());
        case Mishap::Deleted:
            on_delete();
            return effect();
        case Mishap::AnswerLost:
        case Mishap::KilledAfter:
            break;
        }
        auto done = effect();
        if (*mishap == Mishap::AnswerLost)
            return Failure(lost);
        kill();
        return done;
    }

  private:
    struct Plan {
        CallPoint point;
        Mishap mishap;
    };
    std::optional<Mishap> next(const std::string& call) {
        std::unique_lock lock(mutex_);
        if (dead_)
            return std::nullopt;
        const CallPoint point{call, seen_[call]++};
        calls_.push_back(point);
        if (watched_ == point && on_watched) {
            watched_.reset();
            lock.unlock();
            on_watched();
            lock.lock();
        }
        for (auto plan = plans_.begin(); plan != plans_.end(); ++plan)
            if (plan->point == point) {
                const auto mishap = plan->mishap;
                plans_.erase(plan);
                return mishap;
            }
        return std::nullopt;
    }
    void kill() {
        {
            const std::lock_guard lock(mutex_);
            dead_ = true;
        }
        on_kill();
    }

    mutable std::mutex mutex_;
    std::vector<Plan> plans_;
    std::optional<CallPoint> watched_;
    std::map<std::string, unsigned> seen_;
    std::vector<CallPoint> calls_;
    bool dead_ = false;
};

/// The bus as one process sees it.
class InterferedBus final : public rpc::Caller {
  public:
    InterferedBus(FakeConductor& bus, Interference& interference)
        : bus_(bus), interference_(interference) {}
    [[nodiscard]] Result<Json> call(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context,
                                    const rpc::CallOptions& options = {}) override {
        return interference_.through<Json>(
            FakeConductor::name_of(target, method, args), FakeConductor::no_answer(), [&] {
                return bus_.call(target, method, args, context, options);
            });
    }
    [[nodiscard]] Result<void> cast(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context) override {
        const Error lost{Code::Unavailable,
                         "the broker did not confirm it",
                         "MessageDeliveryFailure",
                         "oslo_messaging.exceptions"};
        return interference_.through<void>(cat("cast ", target.topic, ' ', method), lost, [&] {
            return bus_.cast(target, method, args, context);
        });
    }
    [[nodiscard]] Result<void> notify(const std::string& topic,
                                      const std::string& priority,
                                      Json message,
                                      const rpc::Context& context) override {
        return interference_.dead() ? Result<void>()
                                    : bus_.notify(topic, priority, std::move(message), context);
    }

  private:
    FakeConductor& bus_;
    Interference& interference_;
};

} // namespace novalet::tests
