#pragma once
// A bus that answers from a script and remembers what was sent.
#include "agent/core/text.hpp"
#include "agent/rpc/caller.hpp"

#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace novalet::tests {

/// Answers calls in the order of the script; a call without an answer fails with Code::Internal,
/// so a test notices traffic that it does not expect. Casts and notifications succeed unless
/// `cast_error` is set. Thread safe while a test runs; read `sent` when it is over.
class FakeCaller final : public rpc::Caller {
  public:
    struct Sent {
        rpc::Target target;
        std::string method;
        Json args;
        rpc::Context context;
        rpc::CallOptions options;
        enum class Kind { Call, Cast, Notification } kind = Kind::Call;
    };
    using Answer = std::function<Result<Json>(const Sent&)>;

    /// The next call gets this.
    void answer(Json result) {
        script_.emplace_back(
            [result = std::move(result)](const Sent&) -> Result<Json> { return result; });
    }
    void answer_error(Error error) {
        script_.emplace_back(
            [error = std::move(error)](const Sent&) -> Result<Json> { return Failure(error); });
    }
    /// The next call fails with this remote exception.
    void answer_exception(const std::string& name,
                          Code code = Code::Remote,
                          const std::string& text = "scripted") {
        answer_error(Error{code, text, name, "nova.exception"});
    }
    void answer_with(Answer function) { script_.push_back(std::move(function)); }
    /// For every call that the script has no answer for.
    void answer_all(Answer function) { fallback_ = std::move(function); }

    [[nodiscard]] std::size_t unused_answers() const { return script_.size(); }
    [[nodiscard]] const Sent& last() const { return sent.back(); }

    [[nodiscard]] Result<Json> call(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context,
                                    const rpc::CallOptions& options) override {
        Answer next;
        Sent message{target, method, std::move(args), context, options, Sent::Kind::Call};
        {
            const std::lock_guard lock(mutex_);
            sent.push_back(message);
            next = fallback_;
            if (!script_.empty()) {
                next = std::move(script_.front());
                script_.pop_front();
            }
        }
        if (!next)
            return fail(Code::Internal, cat("the test expects no call of ", method));
        return next(message);
    }
    [[nodiscard]] Result<void> cast(const rpc::Target& target,
                                    const std::string& method,
                                    Json args,
                                    const rpc::Context& context) override {
        const std::lock_guard lock(mutex_);
        sent.push_back({target, method, std::move(args), context, {}, Sent::Kind::Cast});
        if (cast_error)
            return Failure(*cast_error);
        return {};
    }
    [[nodiscard]] Result<void> notify(const std::string& topic,
                                      const std::string& priority,
                                      Json message,
                                      const rpc::Context& context) override {
        const std::lock_guard lock(mutex_);
        sent.push_back({{topic, "", "", "", false},
                        priority,
                        std::move(message),
                        context,
                        {},
                        Sent::Kind::Notification});
        return {};
    }

    std::vector<Sent> sent;
    std::optional<Error> cast_error;

  private:
    std::mutex mutex_;
    std::deque<Answer> script_;
    Answer fallback_;
};

} // namespace novalet::tests
