#pragma once
// What runs on an instance's queue for an accepted request.
#include "agent/rpc/request.hpp"
#include "agent/tasks/services.hpp"

namespace novalet::tasks {

/// `stop`: a delete overtakes it.
using VerbFunction = Result<Json>(Services&,
                                  const rpc::Request&,
                                  const Progress&,
                                  const std::stop_token& stop);
using Verb = VerbFunction*;

} // namespace novalet::tasks
